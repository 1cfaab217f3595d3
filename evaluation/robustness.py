"""What the channel takes: every degradation of Table 4, and WebP, resizing and blur; one curve a scheme (Fig. 9).

Beside the schemes stands UNPROTECTED: the face itself sent through the same channel, nothing hidden.
"""

from collections.abc import Sequence
from dataclasses import asdict

from evaluation import reversibility
from evaluation.bench import Bench
from evaluation.data import stack
from evaluation.degradations import BEYOND, TABLE_4, degrade
from evaluation.identity import identify
from evaluation.metrics import mean
from evaluation.reversibility import ReversibilityOptions
from evaluation.runs import Row, Run
from shared.diffusion.walks import HideOptions

SCHEMES = ("keyed", "paper")
UNPROTECTED = "unprotected"


def run(bench: Bench, schemes: Sequence[str] = SCHEMES) -> dict[str, Row]:
    """Table of each scheme, and of UNPROTECTED: figures after each degradation, under `degraded`."""
    tables = {UNPROTECTED: _unprotected(bench)}
    for scheme in schemes:
        options = ReversibilityOptions(HideOptions(scheme), attacks=False, degradations=TABLE_4 + BEYOND)
        tables[scheme] = reversibility.run(bench, options, name=f"robustness/{scheme}")
    return tables


def _unprotected(bench: Bench) -> Row:
    names = [one.name for one in bench.recognisers]
    setup = {"seed": bench.seed, "data": bench.data, "recognisers": names}
    store = Run(bench.out / "robustness" / UNPROTECTED, setup)
    table = store.part("degraded", bench.names, lambda: _sent_as_they_are(bench))
    store.finish(table, bench.provenance())
    return table


def _sent_as_they_are(bench: Bench) -> Row:
    originals = stack(bench.faces)
    known, degraded = identify(originals, bench.finder, bench.recognisers), {}
    for degradation in TABLE_4 + BEYOND:
        pictures = degrade(originals, degradation, bench.names, bench.seed)
        rows = [{"it": row} for row in reversibility.measure(bench, known, originals, pictures)]
        figures = {what: mean([row["it"][what] for row in rows], bench.seed).as_dict() for what in ("psnr", "ssim")}
        identity = reversibility.identity_figures(rows, "it", bench.calibrations, bench.seed)
        degraded[degradation.name] = {**figures, "identity": identity}
    calibrations = {name: asdict(one) for name, one in bench.calibrations.items()}
    return {"count": len(bench.faces), "degraded": degraded, "calibrations": calibrations}
