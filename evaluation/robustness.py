"""What the channel takes: every degradation of Table 4, and WebP, resizing and blur; one curve a scheme
(Fig. 9)."""

from collections.abc import Sequence

from evaluation import reversibility
from evaluation.bench import Bench
from evaluation.degradations import BEYOND, TABLE_4
from evaluation.reversibility import ReversibilityOptions
from evaluation.runs import Row
from shared.diffusion.pipeline import HideOptions

SCHEMES = ("keyed", "paper")


def run(bench: Bench, schemes: Sequence[str] = SCHEMES) -> dict[str, Row]:
    """Table of each scheme: figures after each degradation, under `degraded`."""
    tables = {}
    for scheme in schemes:
        options = ReversibilityOptions(
            HideOptions(scheme), attacks=False, degradations=TABLE_4 + BEYOND, degraded_identity=False
        )
        tables[scheme] = reversibility.run(bench, options, name=f"robustness/{scheme}")
    return tables
