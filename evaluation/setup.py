"""Puts a bench together: model, faces, recognisers, thresholds."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from evaluation import recognisers
from evaluation.alignment import FACE_FOUND, FaceFinder
from evaluation.bench import Bench
from evaluation.calibration import Pair, calibrated
from evaluation.data import Sample, lfw_pairs, load_set, pick, stack, whole_identities
from evaluation.identity import digest_of, embedded
from evaluation.metrics import share
from evaluation.runs import Progress, Row, Run, made_with, silent
from shared.diffusion.model import DiffusionModel

FACES = "eval-faces-00.tar"
SCENES = "eval-scenes-00.tar"
MOST = 3000  # pictures that a gallery, or the pairs behind a threshold, are made of
_ENOUGH = 20  # identities that a set must have to set thresholds by


def make_bench(
    model: DiffusionModel,
    out: Path,
    *,
    data: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    batch: int = 8,
    names: Sequence[str] = recognisers.DEFAULT,
    progress: Progress = silent,
) -> Bench:
    """A bench over `limit` faces drawn by the seed, spread over identities.

    Args:
        data: tar or folder of faces; None: the material's eval-faces.
        names: recognisers, see `recognisers.load`.

    Thresholds come from all pairs of strangers of `data` where it names at least 20 identities (whole identities up
    to MOST pictures, drawn by the seed), else of the material's eval-faces, at the model's picture size; a set with
    LFW's `pairs.txt` sets them by its pairs. They are remembered in `out`.

    Raises:
        MaterialMissing: faces, weights or packages are not there.
    """
    faces = load_set(data, FACES, size=model.image_size)
    finder, loaded = FaceFinder(), recognisers.load(names)
    gallery = _with_identities(faces, seed)
    calibrations = {}
    if loaded:
        pairs = lfw_pairs(data)
        known = _paired(faces, pairs) if pairs else gallery or load_set(None, FACES, size=model.image_size)
        calibrations = calibrated(out, known, finder, loaded, pairs, progress)
    chosen = pick(gallery or faces, limit, seed)
    return Bench(
        model=model,
        faces=chosen,
        gallery=gallery,
        finder=finder,
        recognisers=loaded,
        calibrations=calibrations,
        out=out,
        data=f"{Path(data).name if data else FACES} {digest_of(gallery or faces)}",
        seed=seed,
        batch=batch,
        progress=progress,
    )


def _paired(samples: Sequence[Sample], pairs: Sequence[Pair]) -> list[Sample]:
    """The samples that occur in pairs."""
    wanted = {name for first, second, _ in pairs for name in (first, second)}
    return [sample for sample in samples if sample.name in wanted]


def _with_identities(faces: Sequence[Sample], seed: int) -> list[Sample]:
    """The samples whose identity is known, if they show enough people; else none."""
    known = [sample for sample in faces if sample.identity is not None]
    enough = len({sample.identity for sample in known}) >= _ENOUGH
    return whole_identities(known, MOST, seed) if enough else []


def instruments(
    out: Path,
    *,
    data: str | Path | None = None,
    names: Sequence[str] = recognisers.DEFAULT,
    size: int | None = None,
    scenes: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Row:
    """How good the measuring instruments are, before any model: the detector on faces and on scenes, each
    recogniser's threshold and its acceptance of the same person. Written to `out/instruments/table.json`.

    Args:
        scenes: pictures without faces that the detector is shown, drawn by the seed; None: all.
    """
    faces = whole_identities([s for s in load_set(data, FACES, size=size) if s.identity is not None], MOST, seed)
    places = pick(load_set(None, SCENES, size=size), scenes, seed)
    finder, loaded = FaceFinder(), recognisers.load(names)
    store = Run(out / "instruments", {"recognisers": [one.name for one in loaded], "data": digest_of(faces)})
    seen = embedded(faces, finder, loaded, folder=out, progress=progress)
    shown = store.part(
        "scenes", digest_of(places), lambda: share([one.shows_face for one in finder.find(stack(places))]).as_dict()
    )
    table: Row = {
        "faces_found": share([one.shows_face for one in seen.found]).as_dict(),
        "scenes_with_face": shown,
        "detector": f"MTCNN, confidence {FACE_FOUND}",
        "calibrations": {name: asdict(one) for name, one in calibrated(out, faces, finder, loaded).items()},
        "count": len(faces),
    }
    store.finish(table, made_with("none", seed, "cpu", f"{Path(data).name if data else FACES}"))
    return table
