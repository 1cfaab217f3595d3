"""Plots and contact sheets of a run folder, as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from evaluation.data import Picture
from evaluation.runs import Row

_KINDS = ("jpeg", "noise", "salt-pepper", "webp", "resize", "blur")


def roc_curves(tables: Mapping[str, Row], path: Path) -> Path:
    """Fig. 8: the fusion of StegExpose, one curve a scheme, with chance as the diagonal."""
    figure, axes = plt.subplots(figsize=(4.2, 4))
    for scheme, table in tables.items():
        found = table["stegexpose"]
        label = f"{scheme}, area {found['auc']:.2f}"
        axes.plot(found["curve"]["false"], found["curve"]["true"], label=label)
    axes.plot([0, 1], [0, 1], "--", color="grey", label="chance")
    axes.set(xlabel="plain samples called suspicious", ylabel="stego pictures called suspicious")
    axes.legend(loc="lower right")
    return _saved(figure, path)


def robustness_curves(tables: Mapping[str, Row], path: Path) -> Path:
    """Fig. 9: PSNR of the recovered face over the strength of each degradation, one curve a scheme."""
    figure, grid = plt.subplots(2, 3, figsize=(10, 5.6), sharey=True)
    for axes, kind in zip(grid.flat, _KINDS, strict=True):
        for scheme, table in tables.items():
            names = [name for name in table["degraded"] if name.split(" ")[0] == kind]
            values = [table["recovered"], *(table["degraded"][name] for name in names)]
            shown = [one["psnr"]["value"] for one in values]
            low = [one["psnr"]["value"] - one["psnr"]["low"] for one in values]
            high = [one["psnr"]["high"] - one["psnr"]["value"] for one in values]
            ticks = ["none", *(name.split(" ")[1] for name in names)]
            axes.errorbar(range(len(ticks)), shown, yerr=[low, high], marker="o", capsize=2, label=scheme)
            axes.set_xticks(range(len(ticks)), ticks)
        axes.set_title(kind)
    grid[0, 0].set_ylabel("PSNR, dB")
    grid[1, 0].set_ylabel("PSNR, dB")
    grid[0, 0].legend()
    return _saved(figure, path)


def _saved(figure: plt.Figure, path: Path) -> Path:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def contact_sheet(folder: Path, path: Path, *, kinds: Sequence[str], count: int = 8, columns: int = 8) -> Path | None:
    """Pictures kept by a run, the first `count` by name: blocks of `columns`, in each one row a kind; None if none
    were kept."""
    files = [sorted((folder / "pictures" / kind).glob("*.png"))[:count] for kind in kinds]
    if not all(files):
        return None
    columns = min(columns, len(files[0]))
    blocks = range(0, len(files[0]) // columns * columns, columns)
    rows = [_row(kind[start : start + columns]) for start in blocks for kind in files]
    Image.fromarray(np.concatenate(rows)).save(path)
    return path


def _row(files: Sequence[Path]) -> Picture:
    return np.concatenate([np.asarray(Image.open(file)) for file in files], axis=1)
