"""One hiding and its recoveries on a batch of faces: the trial that all tables are made of."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from evaluation import prompts
from evaluation.alignment import FaceFinder
from evaluation.data import Picture, Sample, stack
from evaluation.degradations import png
from evaluation.identity import Calibration
from evaluation.recognisers import Recogniser
from evaluation.runs import Progress, Provenance, silent
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import Hidden, HideOptions, hide, recover
from shared.recipe import NONCE_BYTES, Recipe


@dataclass
class Bench:
    """What the tables share.

    Attributes:
        faces: samples at the model's size; all tables draw from them in this order.
        calibrations: of each recogniser, by name.
        material: folder with what was measured once for all tables (thresholds).
        batch: pictures a forward pass.
    """

    model: DiffusionModel
    faces: Sequence[Sample]
    finder: FaceFinder
    recognisers: Sequence[Recogniser]
    calibrations: dict[str, Calibration]
    out: Path
    seed: int = 0
    batch: int = 8
    device: str = "cpu"
    progress: Progress = field(default=silent)

    @property
    def names(self) -> list[str]:
        return [sample.name for sample in self.faces]

    @property
    def prompts(self) -> list[str]:
        """Identity prompt of each face."""
        return [prompts.identity(sample.fields) for sample in self.faces]

    def provenance(self) -> Provenance:
        return Provenance.here(self.model.fingerprint, self.seed, self.device)


@dataclass(frozen=True)
class Trial:
    """One batch hidden: what was hidden, under what, and the stego pictures as they leave a PNG file."""

    indices: Sequence[int]
    originals: Picture  # (B, H, W, 3)
    prompts: Sequence[str]
    scenes: Sequence[str]
    disguises: Sequence[str]
    stegos: Picture  # (B, H, W, 3)
    recipes: Sequence[Recipe]
    evaluations: int
    seconds: float  # of hiding, per picture


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
