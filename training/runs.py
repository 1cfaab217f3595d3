"""A run folder: configuration, provenance, losses, and the checkpoint to resume from."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch

from figures.provenance import provenance

F = TypeVar("F")
Saved = Callable[[], None]
SAVE_SECONDS = 240.0  # no more than this is lost with a killed run


def nothing() -> None:
    """A `Saved` that does nothing."""


class Run:
    """One training run on disk.

    `run.json` holds the configuration, seed, command, commit, machine and versions; `losses.jsonl` a line per report;
    `checkpoint.pt` the newest state. The clock counts training seconds over all resumptions.
    """

    def __init__(self, folder: Path, config: Any, *, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.seed, self.step, self.seconds = folder, seed, 0, 0.0
        self._since = self._saved = time.monotonic()
        about = {"config": dataclasses.asdict(config), **provenance(seed=seed, threads=torch.get_num_threads())}
        (folder / "run.json").write_text(json.dumps(about, indent=1, default=str) + "\n")

    def elapsed(self) -> float:
        """Training seconds so far, earlier sessions of the run included."""
        return self.seconds + time.monotonic() - self._since

    def progress(self, steps: int, minutes: float | None) -> float:
        """0..1 of a schedule of steps and, where they are given, minutes of training, whichever is further."""
        return max(self.step / steps, self.elapsed() / (60 * minutes) if minutes else 0.0)

    def report(self, **losses: float) -> None:
        line = {
            "step": self.step,
            "seconds": round(self.elapsed(), 1),
            **{k: round(v, 6) for k, v in losses.items()},
        }
        with (self.folder / "losses.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def due(self, every: int) -> bool:
        """Whether to save: at every so many steps, and wherever SAVE_SECONDS have passed."""
        return self.step % every == 0 or time.monotonic() - self._saved > SAVE_SECONDS

    def save(self, **state: Any) -> None:
        """Keep a state: numbers and tensors, in lists and dictionaries."""
        temporary = self.folder / "checkpoint.tmp"
        torch.save({"step": self.step, "seconds": self.elapsed(), **state}, temporary)
        temporary.replace(self.folder / "checkpoint.pt")
        self._saved = time.monotonic()

    def restore(self) -> dict[str, Any] | None:
        """The state that was saved last, and its step and seconds into this run."""
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return None
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.step, self.seconds = state["step"], state["seconds"]
        self._since = time.monotonic()
        return state

    def save_parts(self, **parts: Any) -> None:
        """`save` of networks and optimizers, each alone or in a list."""
        self.save(**{name: _state_of(part) for name, part in parts.items()})

    def restore_parts(self, **parts: Any) -> None:
        """Put back what `save_parts` kept of the parts of these names, if anything."""
        for name, state in (self.restore() or {}).items():
            for part, kept in _pairs(parts.get(name), state):
                part.load_state_dict(kept)

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


def _state_of(part: Any) -> Any:
    return [one.state_dict() for one in part] if isinstance(part, list) else part.state_dict()


def _pairs(part: Any, state: Any) -> list[tuple[Any, Any]]:
    if part is None:
        return []
    return list(zip(part, state, strict=True)) if isinstance(part, list) else [(part, state)]


def compiled(function: F, device: str) -> F:
    """Compiled where that pays, on a GPU; elsewhere as it is."""
    any_function: Any = function  # torch types what it compiles as a plain function
    return cast(F, torch.compile(any_function)) if device.startswith("cuda") else function
