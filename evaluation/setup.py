"""Puts a bench together: model, faces, recognisers, thresholds."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from evaluation import recognisers
from evaluation.alignment import FACE_FOUND, FaceFinder
from evaluation.bench import Bench
from evaluation.data import Sample, lfw_pairs, load_set, pick, stack
from evaluation.identity import Pair, calibrate, calibrated
from evaluation.metrics import share
from evaluation.runs import Progress, Provenance, Row, Run, silent
from shared.diffusion.model import DiffusionModel

FACES = "eval-faces-00.tar"
SCENES = "eval-scenes-00.tar"
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

    Thresholds come from all pairs of strangers of `data` where it names at least 20 identities, else of the
    material's eval-faces, at the model's picture size; a folder with LFW's `pairs.txt` sets them by its
    pairs. They are remembered in `out`.

    Raises:
        MaterialMissing: faces, weights or packages are not there.
    """
    faces = load_set(data, FACES, size=model.image_size)
    finder, loaded = FaceFinder(), recognisers.load(names)
    progress("thresholds", 0, 1)
    calibrations = {}
    if loaded:
        known = _with_identities(faces, model.image_size)
        calibrations = calibrated(out, known, finder, loaded, _pairs(data))
    progress("thresholds", 1, 1)
    return Bench(
        model=model,
        faces=pick(faces, limit, seed),
        finder=finder,
        recognisers=loaded,
        calibrations=calibrations,
        out=out,
        seed=seed,
        batch=batch,
        device=str(model.device),
        progress=progress,
    )


def _pairs(data: str | Path | None) -> list[Pair] | None:
    path = None if data is None else Path(data) / "pairs.txt"
    return lfw_pairs(path) if path is not None and path.is_file() else None


def _with_identities(faces: Sequence[Sample], size: int) -> Sequence[Sample]:
    known = [sample for sample in faces if sample.identity is not None]
    if len({sample.identity for sample in known}) >= _ENOUGH:
        return known
    return load_set(None, FACES, size=size)


def instruments(
    out: Path, *, data: str | Path | None = None, names: Sequence[str] = recognisers.DEFAULT, size: int | None = None
) -> Row:
    """How good the measuring instruments are, before any model: the detector on faces and on scenes, each
    recogniser's threshold and its acceptance of the same person. Written to `out/instruments/table.json`."""
    faces, scenes = load_set(data, FACES, size=size), load_set(None, SCENES, size=size)
    finder, loaded = FaceFinder(), recognisers.load(names)
    calibrations, seen = calibrate(faces, finder, loaded)
    found = finder.find(stack(scenes))
    table: Row = {
        "faces_found": share([one.shows_face for one in seen.found]).as_dict(),
        "scenes_with_face": share([one.shows_face for one in found]).as_dict(),
        "detector": f"MTCNN, confidence {FACE_FOUND}",
        "calibrations": {name: asdict(one) for name, one in calibrations.items()},
        "count": len(faces),
    }
    store = Run(out / "instruments", {"recognisers": [one.name for one in loaded]})
    store.finish(table, Provenance.here("none", 0, "cpu"))
    return table
