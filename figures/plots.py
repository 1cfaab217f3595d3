"""Plots as PNG, drawn without a screen."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

__all__ = ["plt", "saved"]


def saved(figure: plt.Figure, path: Path, **layout: Any) -> Path:
    """Write a figure and forget it. `layout`: arguments of its `tight_layout`."""
    figure.tight_layout(**layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
