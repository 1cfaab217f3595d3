"""Is a recovered face still that person? The recognisers and thresholds of the evaluation, where their material is."""

import os
from pathlib import Path

import numpy as np

from bench.faces import MATERIAL, Pixels
from evaluation.bench import Bench
from evaluation.identity import compare, identify
from evaluation.setup import make_bench
from shared.diffusion.model import DiffusionModel


class Judge:
    """Verifies recovered faces against their originals. The thresholds are measured once and remembered in a folder."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    @classmethod
    def at_hand(cls, model: DiffusionModel, folder: Path) -> "Judge | None":
        """None where `DDSR_MATERIAL` is not set: recognisers and the faces behind a threshold are not the product's."""
        return cls(make_bench(model, folder, limit=1)) if os.environ.get(MATERIAL) else None

    @property
    def names(self) -> list[str]:
        return [one.name for one in self._bench.recognisers]

    def verified(self, originals: Pixels, recovered: Pixels) -> float:
        """Share, 0..1, of faces that every recogniser verifies at a false accept rate of 1 %; uint8 (B, H, W, 3)."""
        b = self._bench
        rows = compare(identify(originals, b.finder, b.recognisers), recovered, b.finder, b.recognisers)
        thresholds = {name: one.threshold for name, one in b.calibrations.items()}
        passed = [all(row["similarity"].get(n, -1.0) >= level for n, level in thresholds.items()) for row in rows]
        return float(np.mean(passed))
