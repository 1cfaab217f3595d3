"""Pictures to measure on: the project's tars and the folder layouts of the public sets.

Every loader gives `Sample`s: the picture as uint8 RGB (H, W, 3), an identity where the set has one, and the
fields that the set records about it. Order is the set's own and never changes, so that a seed picks the same
pictures again.
"""

import csv
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.errors import MaterialMissing

SETTING = "DDSR_MATERIAL"
Picture = NDArray[np.uint8]
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Sample:
    """One picture of a set: `name` is unique within it; `fields` are the set's own."""

    name: str
    picture: Picture
    identity: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


def material_folder() -> Path:
    """The folder that the setting DDSR_MATERIAL names (it holds `data/` and `models/`).

    Raises:
        MaterialMissing: the setting is unset, or names no folder.
    """
    value = os.environ.get(SETTING, "")
    if not value:
        raise MaterialMissing(f"set {SETTING} to the folder that holds data/ and models/, or pass --data")
    if not Path(value).is_dir():
        raise MaterialMissing(f"{SETTING} does not name a folder")
    return Path(value)


def load_set(source: str | Path | None, default: str, *, size: int | None = None) -> list[Sample]:
    """Load a data set.

    Args:
        source: a tar or a folder; None: `default` in the data folder of the material.
        default: file name of the project's own tar.
        size: edge in pixels to which pictures are centre-cropped and resized; None keeps them.

    Raises:
        MaterialMissing: there is no such file or folder, or nothing in it is a known layout.
    """
    path = Path(source) if source is not None else material_folder() / "data" / default
    if path.is_file() and tarfile.is_tarfile(path):
        samples = load_tar(path)
    elif path.is_dir():
        samples = load_folder(path)
    else:
        raise MaterialMissing(f"no tar and no folder: {path.name}")
    return samples if size is None else [_resized(sample, size) for sample in samples]


def load_tar(path: Path) -> list[Sample]:
    """The project's tars: NNNNNN.webp files and one metadata.jsonl that describes them."""
    with tarfile.open(path) as tar:
        files = {member.name: member for member in tar.getmembers() if member.isfile()}
        if "metadata.jsonl" not in files:
            raise MaterialMissing(f"{path.name} lacks metadata.jsonl")
        lines = _read(tar, files["metadata.jsonl"]).decode().splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        return [_row_sample(row, _read(tar, files[row["file"]])) for row in rows]


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    handle = tar.extractfile(member)
    if handle is None:
        raise MaterialMissing(f"{member.name} is no plain file")
    return handle.read()


def _row_sample(row: Mapping[str, Any], data: bytes) -> Sample:
    identity = row.get("identity")
    return Sample(row["file"], decode(data), None if identity is None else str(identity), row)


def decode(data: bytes | Path) -> Picture:
    """uint8 RGB (H, W, 3) of a picture file."""
    with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
        return np.asarray(image.convert("RGB"))


def load_folder(folder: Path) -> list[Sample]:
    """A folder in the layout of LADN, LFW or CelebA-HQ, told apart by what it holds.

    LADN: `makeup/` and `non-makeup/`. LFW: one folder a person, `Name/Name_0001.jpg`. CelebA-HQ: pictures
    lying flat, with `CelebA-HQ-to-CelebA-mapping.txt` and `identity_CelebA.txt` where identities are known.
    """
    if (folder / "non-makeup").is_dir():
        return _ladn(folder)
    nested = [path for path in sorted(folder.glob("*/*")) if path.suffix.lower() in _SUFFIXES]
    if nested:
        return [Sample(str(p.relative_to(folder)), decode(p), p.parent.name) for p in nested]
    flat = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES]
    if not flat:
        raise MaterialMissing(f"{folder.name} holds no pictures")
    identities = _celeba_hq_identities(folder)
    return [Sample(p.name, decode(p), identities.get(p.stem)) for p in flat]


def _ladn(folder: Path) -> list[Sample]:
    samples = []
    for kind in ("makeup", "non-makeup"):
        paths = [p for p in sorted((folder / kind).rglob("*")) if p.suffix.lower() in _SUFFIXES]
        samples += [Sample(str(p.relative_to(folder)), decode(p), None, {"makeup": kind == "makeup"}) for p in paths]
    return samples


def _celeba_hq_identities(folder: Path) -> dict[str, str]:
    mapping, owners = folder / "CelebA-HQ-to-CelebA-mapping.txt", folder / "identity_CelebA.txt"
    if not (mapping.is_file() and owners.is_file()):
        return {}
    owner = dict(line.split() for line in owners.read_text().splitlines() if line.strip())
    rows = [line.split() for line in mapping.read_text().splitlines()[1:] if line.strip()]
    return {row[0]: owner[row[2]] for row in rows if row[2] in owner}


def lfw_pairs(path: Path) -> list[tuple[str, str, bool]]:
    """Pairs of LFW's `pairs.txt` as (name, name, same person), the names as in `load_folder`."""
    with path.open(newline="") as handle:
        rows = [row for row in csv.reader(handle, delimiter="\t") if len(row) in (3, 4)]
    pairs = []
    for row in rows:
        first = _lfw_name(row[0], row[1])
        same = len(row) == 3
        pairs.append((first, _lfw_name(row[0], row[2]) if same else _lfw_name(row[2], row[3]), same))
    return pairs


def _lfw_name(person: str, number: str) -> str:
    return f"{person}/{person}_{int(number):04d}.jpg"


def _resized(sample: Sample, size: int) -> Sample:
    height, width = sample.picture.shape[:2]
    if (height, width) == (size, size):
        return sample
    edge = min(height, width)
    left, top = (width - edge) // 2, (height - edge) // 2
    image = Image.fromarray(sample.picture).crop((left, top, left + edge, top + edge))
    picture = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))
    return Sample(sample.name, picture, sample.identity, sample.fields)


def pick(samples: Sequence[Sample], limit: int | None, seed: int) -> list[Sample]:
    """The first `limit` (None: all) of an order drawn by the seed that goes round the identities: each gives its
    first picture before any gives its second. A larger limit only adds to a smaller one's samples."""
    order = np.random.default_rng(seed).permutation(len(samples))
    seen: dict[str, int] = {}
    rank = []
    for position, index in enumerate(order):
        owner = samples[index].identity or samples[index].name
        seen[owner] = seen.get(owner, 0) + 1
        rank.append((seen[owner], position, int(index)))
    return [samples[index] for _, _, index in sorted(rank)[:limit]]


def stack(samples: Iterable[Sample]) -> Picture:
    """Pictures of equal size as one (B, H, W, 3) array."""
    return np.stack([sample.picture for sample in samples])
