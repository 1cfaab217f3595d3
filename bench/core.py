"""`ddsr bench core`: hide and recover against the baseline, in turn, at no lower PSNR."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench import memory
from bench.baseline import STEPS, Baseline
from bench.faces import Faces, Pixels, load_faces, psnr, through_file
from bench.timing import Sample, in_turn, ratio, summary
from shared.diffusion.model import EMBEDDED, DiffusionModel
from shared.diffusion.pipeline import hide, recover
from shared.diffusion.walks import HideOptions
from shared.recipe import Recipe

Say = Callable[[str], None]


@dataclass(frozen=True)
class CoreOptions:
    """`rounds[i]` belongs to `batches[i]`. `steps`: of each walk of the baseline."""

    batches: Sequence[int] = (1, 8)
    rounds: Sequence[int] = (5, 2)
    steps: int = STEPS
    ours: HideOptions = field(default_factory=HideOptions)
    seed: int = 0


@contextmanager
def evaluations(network: nn.Module) -> Iterator[list[int]]:
    """Counts the forward passes of a network, [count]."""
    count = [0]

    def tick(*_: object) -> None:
        count[0] += 1

    handle = network.register_forward_pre_hook(tick)
    try:
        yield count
    finally:
        handle.remove()


def run(source: Path | None, options: CoreOptions, say: Say = lambda text: None) -> dict[str, Any]:
    """The table of ratios. `source`: pipeline folder; None is the embedded model."""
    folder = EMBEDDED if source is None else source
    ours, theirs = DiffusionModel.load(folder), Baseline(folder, steps=options.steps)
    faces = load_faces(max(options.batches), ours.image_size, options.seed)
    ceiling = float(np.mean(psnr(faces.pixels, ours.decode(ours.encode(faces.pixels)))))
    rows = []
    for batch, rounds in zip(options.batches, options.rounds, strict=True):
        rows.append(_compare(ours, theirs, faces.first(batch), rounds, options))
        times = {phase: rows[-1][phase]["ratio"]["wall"] for phase in ("recover", "hide")}
        say(f"batch {batch}: recover {times['recover']:.1f} times as fast, hide {times['hide']:.1f}")
    return {
        "model": ours.fingerprint,
        "threads": torch.get_num_threads(),
        "faces": faces.source,
        "ceiling_db": ceiling,
        "scheme": options.ours.scheme,
        "solver": options.ours.resolved_solver,
        "steps": options.ours.resolved_steps,
        "baseline_steps": options.steps,
        "rows": rows,
    }


@dataclass
class _Pair:
    """One contender on one batch: both phases as calls without arguments, the last results kept."""

    hide: Callable[[], object]
    recover: Callable[[], object]
    network: nn.Module


def _compare(ours: DiffusionModel, theirs: Baseline, faces: Faces, rounds: int, options: CoreOptions) -> dict[str, Any]:
    stegos: dict[str, Pixels] = {}
    recovered: dict[str, Pixels] = {}
    recipes: list[Recipe] = []

    def our_hide() -> None:
        found = hide(ours, faces.pixels, faces.identities, faces.disguises, options.ours)
        stegos["ours"] = through_file([one.stego for one in found])
        recipes[:] = [one.recipe for one in found]

    def our_recover() -> None:
        recovered["ours"] = recover(ours, stegos["ours"], faces.identities, recipes)

    def their_hide() -> None:
        stegos["baseline"] = through_file(list(theirs.hide(faces.pixels, faces.identities, faces.disguises)))

    def their_recover() -> None:
        recovered["baseline"] = theirs.recover(stegos["baseline"], faces.identities, faces.disguises)

    pairs = {
        "baseline": _Pair(their_hide, their_recover, theirs.unet),
        "ours": _Pair(our_hide, our_recover, ours.unet),
    }
    warm = {name: _warm(pair) for name, pair in pairs.items()}
    row: dict[str, Any] = {"batch": len(faces.pixels)}
    for phase in ("hide", "recover"):
        samples = in_turn({name: getattr(pair, phase) for name, pair in pairs.items()}, rounds)
        row[phase] = _phase(samples, {name: found[phase] for name, found in warm.items()})
    row["psnr_db"] = {name: float(np.mean(psnr(faces.pixels, found))) for name, found in recovered.items()}
    row["peak_mib"] = {name: found["peak_mib"] for name, found in warm.items()}
    return row


def _warm(pair: _Pair) -> dict[str, Any]:
    """Each phase once, unmeasured: counts its evaluations, and the memory that it takes at most."""
    memory.reset_peak()
    before = memory.resident()
    found: dict[str, Any] = {}
    for phase in ("hide", "recover"):
        with evaluations(pair.network) as count:
            getattr(pair, phase)()
        found[phase] = count[0]
    return found | {"peak_mib": max(0.0, memory.peak() - before)}


def _phase(samples: dict[str, list[Sample]], counts: dict[str, int]) -> dict[str, Any]:
    table: dict[str, Any] = {name: summary(found) | {"evaluations": counts[name]} for name, found in samples.items()}
    return table | {"ratio": ratio(samples["baseline"], samples["ours"])}
