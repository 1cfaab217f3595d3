"""`ddsr bench core`: hide and recover against the baseline, in turn, at no lower PSNR."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.baseline import STEPS, Baseline
from bench.faces import Faces, Pixels, load_faces, through_file
from bench.timing import in_turn, ratio, summary
from figures import memory
from figures.evaluations import evaluations
from figures.fidelity import psnrs
from shared.diffusion.model import EMBEDDED, DiffusionModel
from shared.diffusion.pipeline import hide, recover
from shared.diffusion.walks import HideOptions
from shared.recipe import Recipe

Say = Callable[[str], None]
FEW = 5  # steps at the fast end


@dataclass(frozen=True)
class CoreOptions:
    """`rounds[i]` belongs to `batches[i]`. `steps`: of each walk of the baseline. `ours`: what is set against it."""

    batches: Sequence[int] = (1, 8)
    rounds: Sequence[int] = (5, 2)
    steps: int = STEPS
    ours: Sequence[HideOptions] = (
        HideOptions("keyed"),
        HideOptions("keyed", steps=FEW),
        HideOptions("sealed"),
        HideOptions("sealed", channel="jpeg"),
    )
    seed: int = 0


def run(source: Path | None, options: CoreOptions, say: Say = lambda text: None) -> dict[str, Any]:
    """The table of ratios. `source`: pipeline folder; None is the embedded model."""
    folder = EMBEDDED if source is None else source
    ours, theirs = DiffusionModel.load(folder), Baseline(folder, steps=options.steps)
    faces = load_faces(max(options.batches), ours.image_size, options.seed)
    ceiling = float(np.mean(psnrs(faces.pixels, ours.decode(ours.encode(faces.pixels)))))
    rows: list[dict[str, Any]] = []
    for batch, rounds in zip(options.batches, options.rounds, strict=True):
        for row in _compare(ours, theirs, faces.first(batch), rounds, options):
            times = {phase: row[phase]["ratio"]["wall"] for phase in ("recover", "hide")}
            say(f"batch {batch}, {row['name']}: recover {times['recover']:.1f} times as fast, hide {times['hide']:.1f}")
            rows.append(row)
    return {
        "model": ours.fingerprint,
        "threads": torch.get_num_threads(),
        "faces": faces.source,
        "ceiling_db": ceiling,
        "schemes": [each.scheme for each in options.ours],
        "baseline_steps": options.steps,
        "rows": rows,
    }


@dataclass
class _Pair:
    """One contender on one batch: both phases as calls without arguments; `faces` are the last ones recovered."""

    hide: Callable[[], object]
    recover: Callable[[], object]
    network: nn.Module
    faces: Callable[[], Pixels]


def _ours(model: DiffusionModel, faces: Faces, options: HideOptions) -> _Pair:
    stegos: list[Pixels] = []
    recovered: list[Pixels] = []
    recipes: list[Recipe] = []

    def send() -> None:
        found = hide(model, faces.pixels, faces.identities, faces.disguises, options, nonces=faces.nonces)
        stegos[:] = [through_file([one.stego for one in found])]
        recipes[:] = [one.recipe for one in found]

    def receive() -> None:
        recovered[:] = [recover(model, stegos[0], faces.identities, recipes)]

    return _Pair(send, receive, model.unet, lambda: recovered[0])


def _theirs(baseline: Baseline, faces: Faces) -> _Pair:
    stegos: list[Pixels] = []
    recovered: list[Pixels] = []

    def send() -> None:
        stegos[:] = [through_file(list(baseline.hide(faces.pixels, faces.identities, faces.disguises)))]

    def receive() -> None:
        recovered[:] = [baseline.recover(stegos[0], faces.identities, faces.disguises)]

    return _Pair(send, receive, baseline.unet, lambda: recovered[0])


def _compare(
    ours: DiffusionModel, theirs: Baseline, faces: Faces, rounds: int, options: CoreOptions
) -> list[dict[str, Any]]:
    """A row for each of `options.ours`, all against the same calls of the baseline, in turn."""
    pairs = {"baseline": _theirs(theirs, faces)} | {
        str(number): _ours(ours, faces, each) for number, each in enumerate(options.ours)
    }
    for pair in pairs.values():  # once unmeasured: what is loaded and allocated once is nobody's
        pair.hide()
        pair.recover()
    warm = {name: _warm(pair, len(faces.pixels)) for name, pair in pairs.items()}
    samples = {
        phase: in_turn({name: getattr(pair, phase) for name, pair in pairs.items()}, rounds)
        for phase in ("hide", "recover")
    }
    quality = {name: float(np.mean(psnrs(faces.pixels, pair.faces()))) for name, pair in pairs.items()}
    rows = []
    for number, each in enumerate(options.ours):
        row: dict[str, Any] = {
            "name": f"{each.scheme} for {each.channel}" if each.scheme == "sealed" else each.scheme,
            "batch": len(faces.pixels),
            "solver": each.resolved_solver,
            "steps": each.resolved_steps,
        }
        row["name"] += f", {row['steps']} steps"
        names = {"baseline": "baseline", "ours": str(number)}
        for phase, found in samples.items():
            row[phase] = {
                label: summary(found[name]) | {"evaluations": warm[name][phase]} for label, name in names.items()
            }
            row[phase]["ratio"] = ratio(found["baseline"], found[str(number)])
        row["psnr_db"] = {label: quality[name] for label, name in names.items()}
        row["peak_mib"] = {label: warm[name]["peak_mib"] for label, name in names.items()}
        rows.append(row)
    return rows


def _warm(pair: _Pair, batch: int) -> dict[str, Any]:
    """Each phase once, untimed: counts its evaluations, and the memory that it takes at most."""
    memory.reset_peak()
    before = memory.resident()
    found: dict[str, Any] = {}
    for phase in ("hide", "recover"):
        with evaluations(pair.network, batch) as count:
            getattr(pair, phase)()
        found[phase] = count[0]
    return found | {"peak_mib": max(0.0, memory.peak() - before)}
