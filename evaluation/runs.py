"""A run folder: rows as they come, what made them, and going on where a run stopped.

rows.jsonl   one JSON object a line, each with a `key`; appended and flushed row by row
setup.json   what the rows depend on; a folder with another setup is refused, not mixed
table.json   the figures, with their provenance
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from figures.provenance import provenance
from shared.errors import InvalidOption

Row = dict[str, Any]
Progress = Callable[[str, int, int], None]  # (what, done, of)


def silent(what: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing."""


def made_with(model: str, seed: int, device: str, data: str) -> Row:
    """The provenance of a table. `model`: its fingerprint; `data`: the set's name and digest."""
    return provenance(model=model, seed=seed, device=device, threads=torch.get_num_threads(), data=data)


class Run:
    """Rows of one table in one folder."""

    def __init__(self, folder: Path, setup: Mapping[str, Any]) -> None:
        """Open or go on with a run.

        Raises:
            InvalidOption: the folder holds rows made under another setup.
        """
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        wanted = json.loads(json.dumps(setup))
        path = folder / "setup.json"
        if path.is_file() and json.loads(path.read_text()) != wanted:
            raise InvalidOption(f"the run folder {folder.name} holds rows of another setup; choose a new --out")
        path.write_text(json.dumps(wanted, indent=1))
        self.setup: Row = wanted
        _mend(folder / "rows.jsonl")
        self.rows: dict[str, Row] = {row["key"]: row for row in _lines(folder / "rows.jsonl")}

    def add(self, rows: Iterable[Row]) -> None:
        with (self.folder / "rows.jsonl").open("a") as handle:
            for row in rows:
                self.rows[row["key"]] = row
                handle.write(json.dumps(row) + "\n")

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Indices of the keys that have no row yet."""
        return [i for i, key in enumerate(keys) if key not in self.rows]

    def save(self, kind: str, keys: Sequence[str], pictures: NDArray[np.uint8]) -> None:
        """Keep (B, H, W, 3) pictures as `pictures/KIND/KEY.png`."""
        for key, picture in zip(keys, pictures, strict=True):
            path = self.picture(kind, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            half = path.with_suffix(".part")
            Image.fromarray(picture).save(half, "PNG")
            half.replace(path)  # a killed run leaves no half picture behind

    def load(self, kind: str, keys: Sequence[str]) -> NDArray[np.uint8]:
        """The pictures kept by `save`, (B, H, W, 3)."""
        return np.stack([np.asarray(Image.open(self.picture(kind, key))) for key in keys])

    def picture(self, kind: str, key: str) -> Path:
        return self.folder / "pictures" / kind / f"{Path(key).with_suffix('').as_posix().replace('/', '_')}.png"

    def part(self, name: str, depends: Any, make: Callable[[], Row]) -> Row:
        """The figures that `make` computes, remembered in `parts/NAME.json` as long as `depends` stays what it was."""
        path = self.folder / "parts" / f"{name}.json"
        wanted = json.loads(json.dumps([self.setup, depends]))
        if path.is_file():
            stored: Row = json.loads(path.read_text())
            if stored["depends"] == wanted:
                row: Row = stored["row"]
                return row
        row = json.loads(json.dumps(make()))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"depends": wanted, "row": row}, indent=1))
        return row

    def finish(self, table: Mapping[str, Any], made: Row) -> Path:
        """Write `table.json`. `made`: the provenance of the figures."""
        path = self.folder / "table.json"
        path.write_text(json.dumps({"made": made, "setup": self.setup, **table}, indent=1))
        return path


def _mend(path: Path) -> None:
    """Drop a last line that a killed run left cut off, so that the next row does not grow onto it."""
    if path.is_file():
        text = path.read_text()
        if not text.endswith("\n"):
            path.write_text(text[: text.rfind("\n") + 1])


def _lines(path: Path) -> Iterator[Row]:
    if path.is_file():
        yield from (json.loads(line) for line in path.read_text().splitlines())


def batches(items: Sequence[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
