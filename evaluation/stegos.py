"""Would a person, or a classifier, take the stegos for photographs? `ddsr eval stegos`.

Four sides are measured against one reference, photographs of eval-scenes:

    stegos        the keyed mixing's noise, walked and drawn by the scheme's defaults
    plain         noise drawn from N(0, I), the same prompts, walk and way of drawing
    coded         other photographs of eval-scenes through decode(encode(x))
    photographs   these as they are

No face is hidden and no prompt stretched. The stego of a face is a function of the mixed noise alone; under a uniformly
random key its distribution does not depend on what was mixed (keying.py). So each stego gets 32 random bytes for
the key that Argon2id would make, and the mixing is run on one constant vector: a flaw would show most on that.

Scenes that eval-scenes has get three turns for one turn of a kind that it has not; distances and classifiers of
stego against photograph take the former alone, each stego drawn under a caption of the photograph at its place.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evaluation.alignment import FACE_FOUND, FaceFinder
from evaluation.data import Picture, Sample, load_set, stack
from evaluation.detector import detect
from evaluation.features import Features
from evaluation.judges import SceneJudge, told_apart
from evaluation.metrics import Vectors, frechet, jackknifed, mean, ratio, share
from evaluation.naturalness import kernel_distance, patch_steps, precision_and_recall, spectrum_slopes
from evaluation.plots import mixed_sheet
from evaluation.prompts import UNKNOWN
from evaluation.runs import Progress, Row, Run, batches, made_with, silent
from evaluation.scenes import Photographs, Task, digest, divide, training_set
from evaluation.security import auc_interval
from evaluation.setup import SCENES
from shared.diffusion.channels import png
from shared.diffusion.drawing import draw
from shared.diffusion.keying import from_coordinates
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import Noise, stego_latents
from shared.diffusion.schemes import SCHEMES
from shared.diffusion.walks import HideOptions
from shared.errors import InvalidOption
from shared.recipe import VERSION

SIDES = ("stegos", "plain", "coded", "photographs")
Draw = tuple[int, int, int]  # seeds one picture's random numbers: the run's seed, the stream, the picture
_STREAMS = {"stegos": 1, "plain": 2, "unknown": 3}


@dataclass(frozen=True)
class Judge:
    """What `run` measures with.

    Attributes:
        features: the first decides everything; of the others the Frechet distance stands beside.
        epochs: of the small trained detector; 0 leaves it out.
    """

    finder: FaceFinder
    features: Sequence[Features]
    limit: int = 500
    seed: int = 0
    batch: int = 16
    epochs: int = 8
    hide: HideOptions = field(default_factory=HideOptions)
    progress: Progress = silent


def run(model: DiffusionModel, out: Path, judge: Judge, eval_scenes: Sequence[Sample] | None = None) -> Row:
    """Draw, measure, and write `out/stegos/FINGERPRINT/table.json` and the sheet of pictures beside the report.

    Args:
        eval_scenes: photographs at the model's size with a field `scene`; None: the material's.

    Raises:
        InvalidOption: more stegos than there are photographs to compare them with.
        MaterialMissing: no photographs.
    """
    start, features = time.process_time(), judge.features[0]
    samples = eval_scenes or load_set(None, SCENES, size=model.image_size)
    learned = training_set(features, out, model.image_size, judge.seed, judge.progress)
    photographs, task = divide(samples, learned.records, judge.limit, judge.seed)
    name = model.fingerprint[:8]
    store = Run(out / "stegos" / name, _setup(model, judge, task))
    sides = _sides(model, store, judge, photographs, task)
    table: Row = {
        "count": judge.limit,
        "compared": task.compared,
        "kinds": dict(Counter(task.scenes)),
        **_figures(
            model, judge, SceneJudge.trained(learned.vectors, learned.scenes, judge.seed), sides, photographs, task
        ),
        "unknown": _unknown(model, store, judge, out / f"stegos-{name}-unknown.jpg"),
        "sheet": _sheet(out / f"stegos-{name}.jpg", sides, judge.seed),
        "cpu_seconds": round((time.process_time() - start) / judge.limit, 2),
    }
    data = f"{SCENES} {digest(stack(photographs.reference).tobytes())}"
    store.finish(table, made_with(model.fingerprint, judge.seed, str(model.device), data))
    return table


def _setup(model: DiffusionModel, judge: Judge, task: Task) -> Row:
    options = [judge.hide.scheme, judge.hide.resolved_solver, judge.hide.resolved_steps]
    return {"model": model.fingerprint, "seed": judge.seed, "options": options, "captions": task.captions}


def _figures(
    model: DiffusionModel,
    judge: Judge,
    scenes: SceneJudge,
    sides: Mapping[str, Picture],
    photographs: Photographs,
    task: Task,
) -> Row:
    features, reference = judge.features[0], stack(photographs.reference)
    vectors, known = {name: features.all(pictures) for name, pictures in sides.items()}, features.all(reference)
    patch = model.image_size // model.latent_shape[1]
    kinds = {name: photographs.scenes if name in ("coded", "photographs") else task.scenes for name in SIDES}
    return {
        "features": features.name,
        "detector": f"MTCNN, confidence {FACE_FOUND}",
        "patch": patch,
        "scene_judge": {"held_out": scenes.held_out},
        "sides": {name: _side(judge, sides[name], vectors[name], known, scenes, kinds[name], patch) for name in SIDES},
        "beside": _beside(judge.features[1:], sides, reference, task.compared),
        "told": _told(model, judge, sides, vectors, reference, known),
    }


def stego_noise(model: DiffusionModel, draws: Sequence[Draw], hide: HideOptions) -> Noise:
    """What the keyed mixing makes under random keys, (B, C, h, w); see the top of this file.

    Raises:
        InvalidOption: the scheme's noise depends on the face.
    """
    scheme = SCHEMES[hide.scheme]
    if not scheme.lengths:
        raise InvalidOption(f"the noise of the scheme '{hide.scheme}' depends on the face, and no face is hidden here")
    ones = from_coordinates(np.ones(int(np.prod(model.latent_shape))), model.latent_shape)
    return np.stack([scheme.mix(model, ones, np.random.default_rng(one).bytes(32), VERSION)[0] for one in draws])


def white_noise(model: DiffusionModel, draws: Sequence[Draw]) -> Noise:
    """Noise from N(0, I), (B, C, h, w)."""
    return np.stack([np.random.default_rng(one).normal(size=model.latent_shape) for one in draws])


def _drawn(model: DiffusionModel, store: Run, judge: Judge, kind: str, captions: Sequence[str]) -> Picture:
    """Pictures of captions, kept as PNG; a stopped run goes on."""
    keys = [f"{i:04d}" for i in range(len(captions))]
    todo = [i for i, key in enumerate(keys) if not store.picture(kind, key).is_file()]
    for part in batches(todo, judge.batch):
        judge.progress(kind, part[0], len(keys))
        draws = [(judge.seed, _STREAMS[kind], i) for i in part]
        noise = white_noise(model, draws) if kind == "plain" else stego_noise(model, draws, judge.hide)
        latents = stego_latents(model, noise, [captions[i] for i in part], judge.hide)
        store.save(kind, [keys[i] for i in part], draw(model, latents, model.extras.contrast))
    return store.load(kind, keys)


def _sides(model: DiffusionModel, store: Run, judge: Judge, photographs: Photographs, task: Task) -> dict[str, Picture]:
    others = stack(photographs.others)
    return {
        "stegos": _drawn(model, store, judge, "stegos", task.captions),
        "plain": _drawn(model, store, judge, "plain", task.captions),
        "coded": _coded(model, others, judge.batch),
        "photographs": np.stack([png(picture) for picture in others]),
    }


def _coded(model: DiffusionModel, pictures: Picture, batch: int) -> Picture:
    parts = [model.decode(model.encode(pictures[part])) for part in batches(range(len(pictures)), batch)]
    return np.concatenate(parts)


def _side(
    judge: Judge,
    pictures: Picture,
    vectors: Vectors,
    reference: Vectors,
    scenes: SceneJudge,
    kinds: Sequence[str],
    patch: int,
) -> Row:
    compared, seed = vectors[: len(reference)], judge.seed
    precision, recall = precision_and_recall(reference, compared)
    right = scenes.right(vectors, kinds)
    steps = {order: patch_steps(pictures, patch, order) for order in (1, 3)}
    figures = {
        "frechet": frechet(compared, reference, seed),
        "kernel": jackknifed(kernel_distance, compared, reference, seed),
        "precision": precision,
        "recall": recall,
        "right_scene": share(right),
        "right_scene_compared": share(right[: len(reference)]),
        "grid": ratio(steps[1].border, steps[1].inside, seed),
        "grid_third": ratio(steps[3].border, steps[3].inside, seed),
        "slope": mean(spectrum_slopes(pictures), seed),
        "face_found": share([found.shows_face for found in judge.finder.find(pictures)]),
    }
    by_kind = {kind: float(right[np.asarray(kinds) == kind].mean()) for kind in sorted(set(kinds))}
    return {**{name: one.as_dict() for name, one in figures.items()}, "right_by_kind": by_kind}


def _beside(others: Sequence[Features], sides: Mapping[str, Picture], reference: Picture, compared: int) -> Row:
    return {
        one.name: {name: one.distance(pictures[:compared], reference).as_dict() for name, pictures in sides.items()}
        for one in others
    }


def _told(
    model: DiffusionModel,
    judge: Judge,
    sides: Mapping[str, Picture],
    vectors: Mapping[str, Vectors],
    reference: Picture,
    known: Vectors,
) -> Row:
    """Areas under the ROC of each side against the reference, and of what the model drew against the reference through
    the autoencoder, whose own traces both then bear."""
    coded = _coded(model, reference, judge.batch)
    against = {"photographs": (reference, known), "coded photographs": (coded, judge.features[0].all(coded))}
    told: Row = {}
    for other, (pictures, features) in against.items():
        for side in SIDES if other == "photographs" else ("stegos", "plain"):
            row: Row = {"features": told_apart(features, vectors[side][: len(known)], judge.seed)}
            if judge.epochs and side in ("stegos", "photographs") and len(known) >= 8:
                row["detector"] = _detected(judge, pictures, sides[side][: len(known)])
            told[f"{side} against {other}"] = row
    return told


def _detected(judge: Judge, first: Picture, second: Picture) -> Row:
    found = detect(first, second, seed=judge.seed, epochs=judge.epochs, progress=judge.progress)
    return {"auc": found.auc, "auc_interval": auc_interval(found.folds, judge.seed), "epochs": judge.epochs}


def _unknown(model: DiffusionModel, store: Run, judge: Judge, sheet: Path) -> Row:
    """Stegos under words that training never used: whether they show a face."""
    pictures = _drawn(model, store, judge, "unknown", UNKNOWN)
    mixed_sheet(pictures, sheet)
    shown = [found.shows_face for found in judge.finder.find(pictures)]
    found = [prompt for prompt, face in zip(UNKNOWN, shown, strict=True) if face]
    return {"face_found": share(shown).as_dict(), "prompts_with_face": found}


def _sheet(path: Path, sides: Mapping[str, Picture], seed: int, each: int = 40) -> list[str]:
    """Stegos between photographs, mixed by the seed; returns the side of each, row by row."""
    rng, count = np.random.default_rng(seed), len(sides["photographs"])
    entries = [(side, i) for side in ("stegos", "photographs") for i in rng.permutation(count)[:each]]
    order = rng.permutation(len(entries))
    mixed_sheet(np.stack([sides[entries[k][0]][entries[k][1]] for k in order]), path)
    return [entries[k][0] for k in order]
