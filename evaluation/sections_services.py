"""Section of the report about verification services as judges."""

from collections.abc import Mapping
from pathlib import Path

from evaluation.markdown import Lines, figure, provenance
from evaluation.runs import Row
from figures.tables import markdown

_NAMES = {
    "recovered": "recovered",
    "stego": "stego",
    "wrong": "recovered with a wrong prompt",
    "same": "another photograph of the person",
    "strangers": "two strangers",
}


def services(tables: Mapping[str, Row], folder: Path) -> Lines:
    """One table a service."""
    lines = ["## Verification services (Fig. 7)", ""]
    for name, table in tables.items():
        hiding, known = table["hiding"], table["calibration"]
        what = f"Scheme {hiding['scheme']}, solver {hiding['solver']}, {hiding['steps']} steps"
        where = f"At `{table['setup']['address']}`, {table['sent']} requests in the last run. {what}."
        lines += [f"### {name}", "", where, "", *provenance(table), *_figures(table), *_words(table["top"], known)]
    return lines


def _figures(table: Row) -> Lines:
    head = (
        f"the original against (own scale 0 to {table['top']:g})",
        "score, own scale",
        "confidence, calibrated",
        "verified, own threshold",
        "verified, FAR 1 %",
        "both faces found",
    )
    asked = [(_NAMES[kind], *_cells(one)) for kind, one in table["asked"].items()]
    known = [(_NAMES[kind], *_cells(one)) for kind, one in table["controls"].items()]
    return markdown(head, asked + known)


def _cells(one: Row) -> tuple[str, ...]:
    score = figure(one["score"], 3) if "score" in one else "no face"
    confidence = figure(one["confidence"], 1) if "confidence" in one else "-"
    shares = (
        figure(one[key], 1, percent=True) if key in one else "-" for key in ("own_verified", "verified", "face_found")
    )
    return score, confidence, *shares


def _words(top: float, known: Row) -> Lines:
    threshold = " to ".join(f"{top * known[key]:.3f}" for key in ("threshold_low", "threshold_high"))
    return [
        f"Calibrated: 0 at the mean of strangers, 50 at the threshold that 1 % of {known['stranger_pairs']} pairs of "
        f"strangers pass ({top * known['threshold']:.3f} on the service's scale, 95 % interval {threshold}), 100 at "
        f"the top of the scale; {100 * known['true_accept']:.1f} % of {known['same_pairs']} pairs of one person pass. "
        "Own threshold: the service's, at a false accept rate of 1 in 1000. No face found counts as not verified.",
        "",
    ]
