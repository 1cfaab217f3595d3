"""Section of the report about the scheme `sealed` and its channels."""

from collections.abc import Mapping
from pathlib import Path

from evaluation.markdown import Lines, figure, provenance, shares
from evaluation.runs import Row
from figures.tables import markdown


def sealed(tables: Mapping[str, Row], folder: Path) -> Lines:
    lines = ["## The scheme `sealed` through its channels", ""]
    for table in tables.values():
        lines += [*provenance(table), *_channels(table), *_faces(table)]
    return lines


def _channels(table: Row) -> Lines:
    rows = [
        (
            name,
            str(found["steps"]),
            figure(found["let_go"], 1, percent=True),
            figure(found["first_draw"], 1, percent=True),
            *(
                (figure(found[key], digits) for key, digits in (("draws", 2), ("bytes", 0)))
                if "draws" in found
                else "--"
            ),
            figure(found["hide_cpu_seconds"], 2),
            _recovery(found),
        )
        for name, found in table["channels"].items()
    ]
    words = (
        "Let go: faces for which the sender found a stego that opens after everything on the channel, in four draws at "
        "most. Bytes: of the payload, over stegos. CPU seconds: of hiding, the sender's readings included, and of "
        "recovering what arrives by the first of the ways below."
    )
    head = ("channel", "steps", "let go, %", "at the first draw, %", "draws", "bytes", "hide, s", "recover, s")
    return [words, "", *markdown(head, rows)]


def _recovery(found: Row) -> str:
    ends = [end for end in found.get("through", {}).values() if "psnr" in end]
    return figure(ends[0]["cpu_seconds"], 2) if ends else "-"


def _faces(table: Row) -> Lines:
    rows = [
        (channel, f"{first} to {last}" if first != last else first, *cells)
        for channel, found in table["channels"].items()
        for first, last, cells in _alike(found.get("through", {}))
    ]
    refused = {
        channel: [figure(found["refused"][kind], 1, percent=True) for kind in ("wrong", "near", "none")]
        for channel, found in table["channels"].items()
        if "refused" in found
    }
    words = (
        "PSNR and SSIM are of the faces that opened; verified: at FAR 1 %, of those, recogniser by recogniser. "
        "Neighbouring ways that give the same are one row."
    )
    head = ("channel", "arrives through", "authentic, %", "PSNR, dB", "SSIM", "verified, %")
    return [words, "", *markdown(head, rows), *_refused(refused)]


def _alike(ends: Row) -> list[tuple[str, str, list[str]]]:
    """First way, last way and figures of those that give the same, in the table's order."""
    found: list[tuple[str, str, list[str]]] = []
    for name, end in ends.items():
        way, cells = "png" if name == "none" else name, _figures(end)
        if found and found[-1][2] == cells:
            found[-1] = (found[-1][0], way, cells)
        else:
            found.append((way, way, cells))
    return found


def _figures(end: Row) -> list[str]:
    fidelity = [figure(end[key], digits) for key, digits in (("psnr", 2), ("ssim", 3))] if "psnr" in end else ["-", "-"]
    return [figure(end["authentic"], 1, percent=True), *fidelity, shares(end.get("identity", {}))]


def _refused(shown: Mapping[str, list[str]]) -> Lines:
    different = {cell for cells in shown.values() for cell in cells}
    if len(different) == 1:
        return [f"A wrong prompt, a near one and none are refused on every channel: {different.pop()}.", ""]
    head = ("channel", "wrong prompt refused, %", "near prompt refused, %", "no prompt refused, %")
    return markdown(head, ((channel, *cells) for channel, cells in shown.items()))
