"""The paper's claims beside ours, and whether they are beaten, not reached, or cannot be compared."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluation.degradations import TABLE_4
from evaluation.markdown import Lines, area, figure
from evaluation.metrics import Figure
from evaluation.runs import Row
from figures.tables import markdown

PAPER: Mapping[str, Any] = {
    "psnr": 35.11,
    "ssim": 0.93,
    "psnr_without": 28.0,
    "ssim_without": 0.77,
    "roc_accuracy": 0.49,
    "roc_accuracy_ladn": 0.43,
    "rank-1": 0.921,
    "rank-5": 0.894,
    "fid_container": 32.96,
}
_Claim = tuple[str, str, str, str, str]  # where, paper, ours, faces, verdict


def verdicts(main: Row | None, security: Mapping[str, Row], robustness: Mapping[str, Row], ablation: Row) -> Lines:
    """One row a claim. The networks and the data differ in every row."""
    rows: list[_Claim] = []
    if main is not None:
        rows += [_claim("PSNR, dB (Table 1)", PAPER["psnr"], main["recovered"]["psnr"], 2)]
        rows += [_claim("SSIM (Table 1)", PAPER["ssim"], main["recovered"]["ssim"], 3)]
        rows += [_confidence(main)]
    for scheme, table in security.items():
        rows += [_steganalysis(scheme, table), *_protection(scheme, table), _naturalness(scheme, table)]
    if robustness.get("keyed", {}).get("degraded"):
        rows.append(_robustness(robustness["keyed"]))
    rows += _regularisation(ablation)
    if not rows:
        return []
    head = ("figure", "paper", "ours [95 %]", "faces", "verdict")
    return [
        "## Against the paper",
        "",
        "The paper's network is Stable Diffusion 1.5 (512 px) on CelebA-HQ, LADN and LFW; ours is the one named at "
        "each table. The methods are compared on equal terms only under Peers, which run on one model.",
        "",
        *markdown(head, rows),
    ]


def verdict(paper: float, ours: Row) -> str:
    """Of a figure that should be large."""
    if ours["low"] > paper:
        return "beaten"
    return "not reached" if ours["high"] < paper else "level, within the interval"


def _claim(words: str, paper: float, ours: Row, digits: int) -> _Claim:
    return words, f"{paper:.{digits}f}", figure(ours, digits), str(ours["count"]), verdict(paper, ours)


def _confidence(main: Row) -> _Claim:
    values = [one["confidence"]["value"] for one in main["identity"]["recovered"].values() if "confidence" in one]
    shown = f"{min(values):.1f} to {max(values):.1f}, by recogniser" if values else "-"
    words = "not comparable: other networks, scales of confidence unknown"
    return "confidence of the recovered face (Fig. 7)", "over 80 in most cases", shown, str(main["count"]), words


def _steganalysis(scheme: str, table: Row) -> _Claim:
    found = table["stegexpose"]
    low, high = found["auc_interval"]
    shown = f"{figure(found['accuracy'], 3)}; area under ROC {area(found)}"
    claim = f"{PAPER['roc_accuracy']} (CelebA-HQ), {PAPER['roc_accuracy_ladn']} (LADN)"
    words = "reached: chance (.5) lies in the area's interval"
    if not low <= 0.5 <= high:
        words = "not reached: chance (.5) lies outside the area's interval"
    return f"accuracy of StegExpose, {scheme} (Fig. 8)", claim, shown, str(table["count"]), words


def _protection(scheme: str, table: Row) -> list[_Claim]:
    """Averages over recognisers, as the paper's last columns."""
    found = table.get("recognition", {}).get("stego", {}).get("recognisers", {})
    rows: list[_Claim] = []
    for rank in ("rank-1", "rank-5") if found else ():
        parts = [one[rank] for one in found.values()]
        # Of the same faces: the interval is the mean one's, not that of as many times more faces.
        keys = ("value", "low", "high")
        ours = {key: float(np.mean([part[key] for part in parts])) for key in keys}
        chance = 100 * float(np.mean([one[rank + "-chance"] for one in found.values()]))
        whole = {**ours, "count": parts[0]["count"], "interval": "wilson"}
        words = f"{verdict(PAPER[rank], whole)}; but a random order protects {chance:.1f} %"
        shown = Figure(**whole).text(1, percent=True)
        claim = f"{100 * PAPER[rank]:.1f} %"
        rows.append((f"protection {rank}, {scheme}, mean (Table 2)", claim, shown, str(parts[0]["count"]), words))
    return rows


def _naturalness(scheme: str, table: Row) -> _Claim:
    found = table.get("naturalness")
    name, paper = f"FID of stegos, {scheme} (Table 3)", f"{PAPER['fid_container']}"
    if not found or "stego_to_photographs" not in found:
        return name, paper, "-", "-", "not comparable: no standard Inception weights here"
    shown = figure(found["stego_to_photographs"], 2)
    other = f"{found['features']}: {shown}"
    count = str(found["count"])
    if found["features"] == "FID":
        return name, paper, shown, count, "not comparable: other photographs, and far fewer of them"
    return name, paper, other, count, "not comparable: other features, other photographs"


def _robustness(table: Row) -> _Claim:
    drops = [table["degraded"][one.name]["drop_db"]["value"] for one in TABLE_4 if one.name in table["degraded"]]
    shown = f"PSNR falls by {min(drops):.1f} to {max(drops):.1f} dB"
    claim = '"almost unaffected"'
    words = "not reached" if max(drops) > 1 else "reached"
    words += "; its numbers are in a plot only"
    return "channels of Table 4 (Fig. 9), keyed", claim, shown, str(table["count"]), words


def _regularisation(ablation: Row) -> list[_Claim]:
    rows = []
    for label, key in (("without", "_without"), ("with", "")):
        if label in ablation:
            found = ablation[label]["recovered"]
            name = f"{{}} {label} PCR (Table 5)"
            rows.append(_claim(name.format("PSNR, dB,"), PAPER["psnr" + key], found["psnr"], 2))
            rows.append(_claim(name.format("SSIM"), PAPER["ssim" + key], found["ssim"], 3))
    return rows
