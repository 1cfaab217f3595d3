"""Section of the report about the scheme `sealed` and its channels."""

from collections.abc import Mapping
from pathlib import Path

from evaluation.markdown import Lines, figure, provenance
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
        )
        for name, found in table["channels"].items()
    ]
    words = (
        "Let go: faces for which the sender found a stego that opens after everything on the channel, in four draws at "
        "most. Bytes: of the payload, over stegos. CPU seconds of hiding: the sender's readings included."
    )
    head = ("channel", "steps", "let go, %", "at the first draw, %", "draws", "bytes", "hide, CPU s")
    return [words, "", *markdown(head, rows)]


def _faces(table: Row) -> Lines:
    rows = []
    for channel, found in table["channels"].items():
        for name, end in found.get("through", {}).items():
            verified = [one["verified"] for one in end.get("identity", {}).values()]
            rows.append((
                channel, "png" if name == "none" else name, figure(end["authentic"], 1, percent=True),
                *((figure(end[key], digits) for key, digits in (("psnr", 2), ("ssim", 3))) if "psnr" in end else "--"),
                ", ".join(f"{100 * one['value']:.1f}" for one in verified) or "-",
                figure(end["cpu_seconds"], 2) if "psnr" in end else "-",
            ))  # fmt: skip
    refused = [
        (channel, *(figure(found["refused"][kind], 1, percent=True) for kind in ("wrong", "near", "none")))
        for channel, found in table["channels"].items()
        if "refused" in found
    ]
    words = "PSNR and SSIM are of the faces that opened; verified: at FAR 1 %, of those, recogniser by recogniser."
    head = ("channel", "arrives through", "authentic, %", "PSNR, dB", "SSIM", "verified, %", "recover, CPU s")
    wrong = ("channel", "wrong prompt refused, %", "near prompt refused, %", "no prompt refused, %")
    return [words, "", *markdown(head, rows), *markdown(wrong, refused)]
