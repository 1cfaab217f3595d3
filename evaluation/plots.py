"""Plots and sheets of pictures of a run folder, as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from evaluation.data import Picture
from evaluation.runs import Row
from figures.plots import plt, saved

_KINDS = {
    "jpeg": "JPEG, quality",
    "noise": "Gaussian noise, sigma",
    "salt-pepper": "salt and pepper, share",
    "webp": "WebP, quality",
    "resize": "resizing, factor",
    "blur": "blur, sigma",
}
_GREY = "0.55"
_LABEL = 108  # pixels left of a labelled row


def roc_curves(tables: Mapping[str, Row], path: Path) -> Path:
    """Fig. 8: the fusion of StegExpose, one curve a scheme, with chance as the diagonal."""
    figure, axes = plt.subplots(figsize=(4.6, 4.4))
    for scheme, table in tables.items():
        for key, words in (("stegexpose", ""), ("stegexpose_plain", " against plain samples")):
            found = table.get(key)
            if found is None:
                continue
            low, high = found["auc_interval"]
            label = f"{scheme}{words}: area {found['auc']:.2f} [{low:.2f}, {high:.2f}]"
            axes.plot(found["curve"]["false"], found["curve"]["true"], label=label)
    axes.plot([0, 1], [0, 1], "--", color=_GREY, label="chance")
    axes.set(xlabel="plain samples called suspicious", ylabel="stego pictures called suspicious")
    axes.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal", title="StegExpose")
    axes.legend(loc="lower right", fontsize=7)
    return saved(figure, path)


def robustness_curves(tables: Mapping[str, Row], path: Path) -> Path:
    """Fig. 9: PSNR of the recovered face over the strength of each degradation, one curve a scheme; dashed, the face
    itself sent through the channel."""
    figure, grid = plt.subplots(2, 3, figsize=(10, 6), sharey=True)
    for axes, (kind, title) in zip(grid.flat, _KINDS.items(), strict=True):
        for scheme, table in tables.items():
            _curve(axes, kind, scheme, table)
        names = _of_kind(next(iter(tables.values())), kind)
        axes.set_xticks(range(len(names) + 1), ["none", *(name.split(" ")[1] for name in names)])
        axes.set_title(title, fontsize=10)
        axes.grid(axis="y", alpha=0.3)
    for row in grid:
        row[0].set_ylabel("PSNR to the original, dB")
    grid[0, 0].legend(fontsize=8)
    return saved(figure, path)


def _of_kind(table: Row, kind: str) -> list[str]:
    return [name for name in table["degraded"] if name.split(" ")[0] == kind]


def _curve(axes: plt.Axes, kind: str, scheme: str, table: Row) -> None:
    names = _of_kind(table, kind)
    places = list(range(1, len(names) + 1))
    values = [table["degraded"][name]["psnr"] for name in names]
    if "recovered" in table:
        places, values = [0, *places], [table["recovered"]["psnr"], *values]
    shown = [one["value"] for one in values]
    errors = [[one["value"] - one["low"] for one in values], [one["high"] - one["value"] for one in values]]
    style = {"marker": "o"} if "recovered" in table else {"marker": ".", "linestyle": "--", "color": _GREY}
    axes.errorbar(places, shown, yerr=errors, capsize=2, label=scheme, **style)


def identity_points(table: Row, path: Path, kinds: Mapping[str, str]) -> Path:
    """Similarity to the original, of each recogniser: what came back and what attackers got, among strangers.

    Args:
        kinds: label of each kind of picture in `table["identity"]`.
    """
    names = list(table["calibrations"])
    figure, grid = plt.subplots(1, len(names), figsize=(2.7 * len(names) + 1, 3.4), sharey=True, squeeze=False)
    for axes, name in zip(grid[0], names, strict=True):
        one = table["calibrations"][name]
        axes.axvspan(one["strangers"][1], one["strangers"][99], color="0.9", label="98 % of strangers")
        axes.axvline(one["threshold"], color="C3", linewidth=1, label="threshold, FAR 1 %")
        axes.plot([one["same_mean"]], [0], "D", color=_GREY, markersize=5, label="mean of other photographs")
        for place, kind in enumerate(kinds, start=1):
            found = table["identity"][kind][name].get("similarity")
            if found is None:
                axes.text(-0.22, place, "no face found", fontsize=7, va="center")
                continue
            error = [[found["value"] - found["low"]], [found["high"] - found["value"]]]
            axes.errorbar([found["value"]], [place], xerr=error, marker="o", capsize=3, color="C0", clip_on=False)
        axes.set_yticks(range(len(kinds) + 1), ["another photograph", *kinds.values()])
        axes.set(title=name, xlim=(-0.3, 1.05), ylim=(len(kinds) + 0.5, -0.5), xlabel="similarity")
        axes.title.set_fontsize(9)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), fontsize=8, frameon=False)
    return saved(figure, path, rect=(0, 0.07, 1, 1))


def labelled_sheet(rows: Sequence[tuple[str, Path]], path: Path, *, count: int = 8) -> Path | None:
    """One row of pictures a (label, folder of pictures); the first `count` names that all folders hold; None if there
    are none."""
    names = sorted(set.intersection(*({file.name for file in folder.glob("*.png")} for _, folder in rows)))[:count]
    if not names:
        return None
    lines = []
    for label, folder in rows:
        row = _row([folder / name for name in names])
        margin = Image.new("RGB", (_LABEL, len(row)), "white")
        ImageDraw.Draw(margin).text((4, len(row) // 2 - 5), label, fill="black")
        lines.append(np.concatenate([np.asarray(margin), row], axis=1))
    Image.fromarray(np.concatenate(lines)).save(path)
    return path


def _row(files: Sequence[Path]) -> Picture:
    return np.concatenate([np.asarray(Image.open(file)) for file in files], axis=1)


def mixed_sheet(pictures: Picture, path: Path, *, columns: int = 10) -> None:
    """Pictures (N, H, W, 3) row by row, as JPEG."""
    missing = -len(pictures) % columns
    filled = np.pad(pictures, ((0, missing), (0, 0), (0, 0), (0, 0)), constant_values=255)
    rows = [np.concatenate(list(row), axis=1) for row in filled.reshape(-1, columns, *pictures.shape[1:])]
    Image.fromarray(np.concatenate(rows)).save(path, quality=88)
