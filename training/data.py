"""Pictures and their metadata from plain tar files (`*.webp` members and one `metadata.jsonl`)."""

import io
import json
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.errors import InputError

TRAIN_FACES = ("faces-celeba-00", "faces-celeba-01", "faces-utk-00", "faces-fairface-00")
TRAIN_SCENES = ("scenes-00", "scenes-01", "scenes-extra-00")


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures, uint8 (N, H, W, 3), with one metadata record each."""

    pixels: NDArray[np.uint8]
    records: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.records)


def load_tars(folder: Path, names: Sequence[str], *, size: int, limit: int | None = None) -> Pictures:
    """All pictures of the named tars, `limit` of each tar at most, resized to `size` where they differ.

    Raises:
        InputError: a tar is missing, in the folder and in its subfolder `data`. `eval-*` is refused: no training may
            see it.
    """
    folder = folder / "data" if (folder / "data").is_dir() else folder
    pixels, records = [], []
    for name in names:
        if name.startswith("eval-"):
            raise InputError("evaluation pictures are not for training")
        path = folder / f"{name}.tar"
        if not path.is_file():
            raise InputError(f"{path.name} is not in the data folder")
        part = _load_tar(path, size, limit)
        pixels.append(part.pixels)
        records += part.records
    return Pictures(np.concatenate(pixels), records)


def _load_tar(path: Path, size: int, limit: int | None) -> Pictures:
    with tarfile.open(path) as tar:
        metadata = tar.extractfile("metadata.jsonl")
        if metadata is None:
            raise InputError(f"{path.name} has no metadata.jsonl")
        records = [json.loads(line) for line in metadata][:limit]
        wanted = {record["file"] for record in records}
        files = {m.name: f.read() for m in tar if m.name in wanted and (f := tar.extractfile(m))}

    def decode(record: dict[str, Any]) -> NDArray[np.uint8]:
        picture = Image.open(io.BytesIO(files[record["file"]])).convert("RGB")
        if picture.size != (size, size):
            picture = picture.resize((size, size), Image.Resampling.LANCZOS)
        return np.asarray(picture)

    with ThreadPoolExecutor() as pool:
        return Pictures(np.stack(list(pool.map(decode, records))), records)
