"""Is a recovered face still that person? The recognisers and thresholds of the evaluation, where their material is."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.faces import Pixels
from evaluation.data import SETTING
from shared.diffusion.model import DiffusionModel

if TYPE_CHECKING:  # the evaluation's packages are not the worker's
    from evaluation.bench import Bench


class Judge:
    """Verifies recovered faces against their originals. The thresholds are measured once and remembered in a folder."""

    def __init__(self, bench: "Bench") -> None:
        self._bench = bench

    @classmethod
    def at_hand(cls, model: DiffusionModel, folder: Path, say: Callable[[str], None]) -> "Judge | None":
        """None, and a word why, where `DDSR_SETTING` is not set or the evaluation's packages or files are missing:
        recognisers and the faces behind a threshold are not the product's."""
        if not os.environ.get(SETTING):
            say(f"identities are not verified: {SETTING} is not set")
            return None
        try:
            from evaluation.errors import MaterialMissing
            from evaluation.setup import make_bench
        except ImportError as error:
            say(f"identities are not verified: the package {error.name} is missing")
            return None
        try:
            return cls(make_bench(model, folder, limit=1))
        except MaterialMissing as error:
            say(f"identities are not verified: {error.detail}")
            return None

    @property
    def names(self) -> list[str]:
        return [one.name for one in self._bench.recognisers]

    def verified(self, originals: Pixels, recovered: Pixels) -> float:
        """Share, 0..1, of faces that every recogniser verifies at a false accept rate of 1 %; uint8 (B, H, W, 3)."""
        from evaluation.identity import compare, identify

        b = self._bench
        rows = compare(identify(originals, b.finder, b.recognisers), recovered, b.finder, b.recognisers)
        thresholds = {name: one.threshold for name, one in b.calibrations.items()}
        passed = [all(row["similarity"].get(n, -1.0) > level for n, level in thresholds.items()) for row in rows]
        return float(np.mean(passed))
