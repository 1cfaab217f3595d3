"""One hiding and its recoveries on a batch of faces: the trial that all tables are made of.

`hide_faces` and `recover_faces` compute. `trial_of` and `recovery` remember, in `out/trials/`, what they computed for a
model, a way of hiding, a seed and a face, so that tables share hidings, clean recoveries, attacks and channels, and a
stopped run goes on.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluation import prompts
from evaluation.alignment import FaceFinder
from evaluation.data import Picture, Sample, stack
from evaluation.identity import Calibration
from evaluation.recognisers import Recogniser
from evaluation.runs import Progress, Row, Run, made_with, silent
from figures.evaluations import evaluations
from shared.diffusion.channels import png
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import Hidden, hide, recover
from shared.diffusion.walks import HideOptions
from shared.recipe import NONCE_BYTES, VERSION, Recipe

RECOVERED = "recovered"


@dataclass
class Bench:
    """What the tables share.

    Attributes:
        faces: samples at the model's size; all tables draw from them in this order.
        gallery: the set that the faces come from, for rankings; empty where its identities are not known.
        calibrations: of each recogniser, by name.
        data: the set's name and digest.
        batch: pictures a forward pass.
        trials: open stores of trials.
    """

    model: DiffusionModel
    faces: Sequence[Sample]
    finder: FaceFinder
    recognisers: Sequence[Recogniser]
    calibrations: dict[str, Calibration]
    out: Path
    gallery: Sequence[Sample] = ()
    data: str = ""
    seed: int = 0
    batch: int = 8
    progress: Progress = field(default=silent)
    trials: dict[str, Run] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [sample.name for sample in self.faces]

    @property
    def prompts(self) -> list[str]:
        """Identity prompt of each face."""
        return [prompts.identity(sample.fields) for sample in self.faces]

    def others(self, index: int) -> str:
        """A wrong prompt for the face at `index`: another one's of the gallery, whatever the limit."""
        pool = [prompts.identity(sample.fields) for sample in self.gallery or self.faces]
        return prompts.wrong(self.prompts[index], pool, [self.seed, *self.faces[index].name.encode()])

    def setup(self) -> Row:
        """What all rows depend on, whatever the table. The version: a stego is recovered by the method that made it."""
        return {"model": self.model.fingerprint, "method": VERSION, "seed": self.seed, "data": self.data}

    def provenance(self) -> Row:
        return made_with(self.model.fingerprint, self.seed, str(self.model.device), self.data)


@dataclass(frozen=True)
class Trial:
    """One batch hidden: what was hidden, under what, and the stego pictures as they leave a PNG file.

    `evaluations` and `seconds` are of hiding, a picture.
    """

    indices: Sequence[int]
    originals: Picture  # (B, H, W, 3)
    prompts: Sequence[str]
    scenes: Sequence[str]
    disguises: Sequence[str]
    stegos: Picture  # (B, H, W, 3)
    recipes: Sequence[Recipe]
    evaluations: int
    seconds: float

    def part(self, i: int) -> "Trial":
        """The trial of the picture at place i alone."""
        here = slice(i, i + 1)
        names = ("indices", "originals", "prompts", "scenes", "disguises", "stegos", "recipes")
        changes: dict[str, Any] = {name: getattr(self, name)[here] for name in names}
        return replace(self, **changes)


def nonce(seed: int, name: str, scheme: str) -> bytes:
    """A nonce that can be drawn again; only for measuring, where pictures are public."""
    return hashlib.sha256(f"{seed}\0{name}\0{scheme}".encode()).digest()[:NONCE_BYTES]


def hide_faces(bench: Bench, indices: Sequence[int], options: HideOptions) -> Trial:
    """Hide the faces at `indices`, each under the disguise that its index gives it."""
    samples = [bench.faces[i] for i in indices]
    identity = [prompts.identity(sample.fields) for sample in samples]
    scenes, disguises = zip(*(prompts.disguise(i) for i in indices), strict=True)
    nonces = [nonce(bench.seed, sample.name, options.scheme) for sample in samples]
    originals = stack(samples)
    start = time.perf_counter()
    hidden: list[Hidden] = hide(bench.model, originals, identity, disguises, options, nonces=nonces)
    seconds = (time.perf_counter() - start) / len(samples)
    stegos = np.stack([png(one.stego) for one in hidden])
    recipes = [one.recipe for one in hidden]
    evaluations = hidden[0].evaluations
    return Trial(indices, originals, identity, scenes, disguises, stegos, recipes, evaluations, seconds)


def without_key(recipe: Recipe) -> Recipe:
    """The recipe that someone without a key runs: the same walks, no mixing undone."""
    return recipe if recipe.scheme == "paper" else replace(recipe, scheme="matched", lengths=b"")


def recover_faces(
    bench: Bench, trial: Trial, stegos: Picture, identity: Sequence[str], *, keyed: bool = True
) -> Picture:
    """Recovered pictures (B, H, W, 3), through a PNG file.

    Args:
        keyed: False: as someone without a key, undoing no mixing.
    """
    recipes = trial.recipes if keyed else [without_key(recipe) for recipe in trial.recipes]
    recovered = recover(bench.model, stegos, identity, recipes)
    return np.stack([png(picture) for picture in recovered])


def trials_of(bench: Bench, options: HideOptions) -> Run:
    """The store of all trials of one model and way of hiding; rows of another seed, set or method are
    refused."""
    words = (options.scheme, options.resolved_solver, str(options.resolved_steps))
    name = trials_name(*words, bench.model.fingerprint)
    if name not in bench.trials:
        bench.trials[name] = Run(bench.out / "trials" / name, {**bench.setup(), "options": words})
    return bench.trials[name]


def trials_name(scheme: str, solver: str, steps: str | int, model: str) -> str:
    """Folder of a store of trials within `trials/`."""
    return f"{scheme}-{solver}-{steps}-{model[:8]}"


def trial_of(bench: Bench, indices: Sequence[int], options: HideOptions) -> Trial:
    """`hide_faces` and a clean recovery, each face once: what an earlier table computed is read back."""
    store = trials_of(bench, options)
    todo = [i for i in indices if bench.faces[i].name not in store.rows]
    if todo:
        _hide_and_keep(bench, store, todo, options)
    samples = [bench.faces[i] for i in indices]
    keys = [sample.name for sample in samples]
    rows = [store.rows[key] for key in keys]
    return Trial(
        list(indices),
        stack(samples),
        [prompts.identity(sample.fields) for sample in samples],
        [row["scene"] for row in rows],
        [row["disguise"] for row in rows],
        store.load("stego", keys),
        [Recipe.from_text(row["recipe"]) for row in rows],
        rows[0]["evaluations"],
        float(np.mean([row["hide_seconds"] for row in rows])),
    )


def _hide_and_keep(bench: Bench, store: Run, indices: Sequence[int], options: HideOptions) -> None:
    trial = hide_faces(bench, indices, options)
    start = time.perf_counter()
    with evaluations(bench.model.unet, len(indices)) as calls:
        recovered = recover_faces(bench, trial, trial.stegos, trial.prompts)
    seconds = (time.perf_counter() - start) / len(indices)
    keys = [bench.faces[i].name for i in indices]
    for kind, pictures in (("original", trial.originals), ("stego", trial.stegos), (RECOVERED, recovered)):
        store.save(kind, keys, pictures)
    told = {
        "evaluations": trial.evaluations,
        "recover_evaluations": calls[0],
        "hide_seconds": round(trial.seconds, 4),
        "recover_seconds": round(seconds, 4),
    }
    parts = zip(keys, trial.scenes, trial.disguises, trial.recipes, strict=True)
    store.add({"key": k, "scene": s, "disguise": d, "recipe": r.to_text(), **told} for k, s, d, r in parts)


def recovery(bench: Bench, trial: Trial, kind: str, make: Callable[[], Picture]) -> Picture:
    """Pictures (B, H, W, 3) that `make` recovers from the trial's stegos, remembered under `kind`, which must say
    all that they depend on beside the trial."""
    first = trial.recipes[0]
    store = trials_of(bench, HideOptions(first.scheme, first.solver, first.steps))
    keys = [bench.faces[i].name for i in trial.indices]
    if not all(store.picture(kind, key).is_file() for key in keys):
        store.save(kind, keys, make())
    return store.load(kind, keys)


def row_of(bench: Bench, options: HideOptions, index: int) -> Row:
    """What the trial of one face took, as `trial_of` recorded it."""
    return trials_of(bench, options).rows[bench.faces[index].name]
