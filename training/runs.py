"""A run folder: configuration, provenance, losses, and the checkpoint to resume from."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from figures.provenance import provenance


class Run:
    """One training run on disk.

    `run.json` holds the configuration, seed, command, commit, machine and versions; `losses.jsonl` a line per report;
    `checkpoint.pt` the newest state. The clock counts training seconds over all resumptions.
    """

    def __init__(self, folder: Path, config: Any, *, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.seed, self.step, self.seconds = folder, seed, 0, 0.0
        self._since = time.monotonic()
        about = {"config": dataclasses.asdict(config), **provenance(seed=seed, threads=torch.get_num_threads())}
        (folder / "run.json").write_text(json.dumps(about, indent=1, default=str) + "\n")

    def elapsed(self) -> float:
        """Training seconds so far, earlier sessions of the run included."""
        return self.seconds + time.monotonic() - self._since

    def report(self, **losses: float) -> None:
        line = {
            "step": self.step,
            "seconds": round(self.elapsed(), 1),
            **{k: round(v, 6) for k, v in losses.items()},
        }
        with (self.folder / "losses.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def save(self, **state: Any) -> None:
        temporary = self.folder / "checkpoint.tmp"
        torch.save({"step": self.step, "seconds": self.elapsed(), **state}, temporary)
        temporary.replace(self.folder / "checkpoint.pt")

    def restore(self) -> dict[str, Any] | None:
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return None
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.step, self.seconds = state["step"], state["seconds"]
        self._since = time.monotonic()
        return state

    def plot(self) -> None:
        """Draw every reported loss over the steps to `losses.png`, a running mean over 20 reports."""
        from figures.plots import plt, saved

        lines = [json.loads(line) for line in (self.folder / "losses.jsonl").read_text().splitlines()]
        names = sorted({k for line in lines for k in line} - {"step", "seconds"})
        figure, axes = plt.subplots(1, len(names), figsize=(5 * len(names), 3.5), squeeze=False)
        for axis, name in zip(axes[0], names, strict=True):
            points = [(line["step"], line[name]) for line in lines if name in line]
            steps, values = zip(*points, strict=True)
            width = max(1, min(20, len(values) // 5))
            axis.plot(steps, values, alpha=0.3)
            smooth = np.convolve(values, np.ones(width) / width, mode="valid")
            axis.plot(steps[len(steps) - len(smooth) :], smooth)
            axis.set(xlabel="step", title=name)
        saved(figure, self.folder / "losses.png")
