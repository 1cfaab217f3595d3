"""Pictures to measure on: the project's tars and the layouts of the public sets, as a folder or as a tar.

Every loader gives `Sample`s: the picture as uint8 RGB (H, W, 3), an identity where the set has one, and the
fields that the set records about it. Order is the set's own and never changes, so that a seed picks the same
pictures again.

    project's tars   NNNNNN.webp and metadata.jsonl
    LADN             before/ and after/ as published (blend/ is synthetic and left out), or non-makeup/ and makeup/
    LFW              one folder a person, Name/Name_0001.jpg; pairs.txt at the top, where it is
    CelebA-HQ        pictures lying flat, or in CelebA-HQ-img/; beside them, where they are,
                     CelebA-HQ-to-CelebA-mapping.txt with identity_CelebA.txt (identities), and
                     CelebAMask-HQ-attribute-anno.txt or list_attr_celeba.txt (attributes)
"""

import csv
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
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


@dataclass(frozen=True)
class _Source:
    """The files of a folder or a tar: sorted names relative to the set's top, and how to read one."""

    names: Sequence[str]
    read: Callable[[str], bytes]

    def text(self, name: str) -> str | None:
        return self.read(name).decode() if name in self.names else None

    def pictures(self, *folder: str) -> list[str]:
        """Names of pictures lying directly in a folder of the set."""
        return [n for n in self.names if PurePosixPath(n).parts[:-1] == folder and _is_picture(n)]


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in _SUFFIXES and not PurePosixPath(name).name.startswith(".")


@contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    if path.is_dir():
        names = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
        yield _Source(names, lambda name: (path / name).read_bytes())
    elif path.is_file() and tarfile.is_tarfile(path):
        with tarfile.open(path) as tar:
            members = {member.name.removeprefix("./"): member for member in tar.getmembers() if member.isfile()}
            top = _common_top(members)
            yield _Source(sorted(n.removeprefix(top) for n in members), lambda name: _read(tar, members[top + name]))
    else:
        raise MaterialMissing(f"no tar and no folder: {path.name}")


def _common_top(names: Iterable[str]) -> str:
    """The one folder in which everything lies two levels deep or more (`lfw/` of lfw.tgz), or nothing."""
    parts = [PurePosixPath(name).parts for name in names]
    one = len({part[0] for part in parts}) == 1 and any(len(part) > 2 for part in parts)
    return parts[0][0] + "/" if one else ""


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    handle = tar.extractfile(member)
    if handle is None:
        raise MaterialMissing(f"{member.name} is no plain file")
    return handle.read()


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
    with _opened(path) as opened:
        entries = _entries(opened, path.name)
        return [_sample(opened.read(name), name, identity, fields, size) for name, identity, fields in entries]


_Entry = tuple[str, str | None, Mapping[str, Any]]  # name, identity, fields


def _entries(source: _Source, name: str) -> list[_Entry]:
    """What the set holds, by its layout."""
    described = source.text("metadata.jsonl")
    if described is not None:
        rows = [json.loads(line) for line in described.splitlines() if line.strip()]
        return [(row["file"], None if row.get("identity") is None else str(row["identity"]), row) for row in rows]
    for plain, painted in _LADN:
        kinds = ((plain, False), (painted, True))
        pairs = [(n, made_up) for folder, made_up in kinds for n in source.pictures(folder)]
        if pairs and source.pictures(plain):
            return [(n, None, {"makeup": made_up}) for n, made_up in pairs]
    hq = source.pictures("CelebA-HQ-img")
    if not hq:
        people = [n for n in source.names if len(PurePosixPath(n).parts) == 2 and _is_picture(n)]
        if people:
            return [(n, PurePosixPath(n).parts[0], {}) for n in people]
    flat = hq or source.pictures()
    if not flat:
        raise MaterialMissing(f"{name} holds no pictures in a known layout")
    owners, attributes = _celeba_hq_identities(source), _celeba_attributes(source)
    stems = {n: PurePosixPath(n).stem for n in flat}
    return [(n, owners.get(stems[n]), _fields(attributes.get(stems[n]))) for n in sorted(flat, key=_numeric)]


_LADN = (("before", "after"), ("non-makeup", "makeup"))


def _fields(attributes: Sequence[str] | None) -> Mapping[str, Any]:
    return {} if attributes is None else {"attributes": list(attributes)}


def _numeric(name: str) -> tuple[int, str]:
    stem = PurePosixPath(name).stem
    return (int(stem) if stem.isdecimal() else -1, name)


def _sample(data: bytes, name: str, identity: str | None, fields: Mapping[str, Any], size: int | None) -> Sample:
    """Resized at once: whole sets at their own size may not fit the memory."""
    picture = decode(data)
    return Sample(name, picture if size is None else _resized(picture, size), identity, fields)


def decode(data: bytes | Path) -> Picture:
    """uint8 RGB (H, W, 3) of a picture file."""
    with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
        return np.asarray(image.convert("RGB"))


def _resized(picture: Picture, size: int) -> Picture:
    height, width = picture.shape[:2]
    if (height, width) == (size, size):
        return picture
    edge = min(height, width)
    left, top = (width - edge) // 2, (height - edge) // 2
    image = Image.fromarray(picture).crop((left, top, left + edge, top + edge))
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))


def _celeba_hq_identities(source: _Source) -> dict[str, str]:
    """Identity of each picture, by its number in CelebA-HQ."""
    mapping, owners = source.text("CelebA-HQ-to-CelebA-mapping.txt"), source.text("identity_CelebA.txt")
    if mapping is None or owners is None:
        return {}
    owner = dict(line.split() for line in owners.splitlines() if line.strip())
    rows = [line.split() for line in mapping.splitlines()[1:] if line.strip()]
    return {row[0]: owner[row[2]] for row in rows if row[2] in owner}


def _celeba_attributes(source: _Source) -> dict[str, list[str]]:
    """Attributes present in each picture, by the stem of its name; the files of CelebAMask-HQ and CelebA agree in
    their form: a count, the names, then a row a picture of 1 and -1."""
    texts = (source.text(n) for n in ("CelebAMask-HQ-attribute-anno.txt", "list_attr_celeba.txt"))
    text = next((one for one in texts if one is not None), None)
    if text is None:
        return {}
    lines = text.splitlines()
    names, rows = lines[1].split(), [line.split() for line in lines[2:] if line.strip()]
    return {PurePosixPath(row[0]).stem: [n for n, v in zip(names, row[1:], strict=True) if v == "1"] for row in rows}


def lfw_pairs(source: str | Path | None) -> list[tuple[str, str, bool]] | None:
    """Pairs of a set's `pairs.txt` (LFW) as (name, name, same person), the names as in `load_set`; None: it has
    none."""
    if source is None:
        return None
    with _opened(Path(source)) as opened:
        text = opened.text("pairs.txt")
    if text is None:
        return None
    rows = [row for row in csv.reader(text.splitlines(), delimiter="\t") if len(row) in (3, 4)]
    pairs = []
    for row in rows:
        first, same = _lfw_name(row[0], row[1]), len(row) == 3
        pairs.append((first, _lfw_name(row[0], row[2]) if same else _lfw_name(row[2], row[3]), same))
    return pairs


def _lfw_name(person: str, number: str) -> str:
    return f"{person}/{person}_{int(number):04d}.jpg"


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


def whole_identities(samples: Sequence[Sample], most: int, seed: int) -> list[Sample]:
    """All pictures of people drawn by the seed, at most `most` in all; those with several pictures come first. The
    order is the set's own."""
    counts: dict[str, int] = {}
    for sample in samples:
        counts[sample.identity or sample.name] = counts.get(sample.identity or sample.name, 0) + 1
    people = sorted(counts)
    drawn = [people[i] for i in np.random.default_rng([seed, 1]).permutation(len(people))]
    chosen, total = set(), 0
    for person in sorted(drawn, key=lambda one: counts[one] == 1):  # a stable sort
        if total + counts[person] <= most:
            chosen.add(person)
            total += counts[person]
    return [sample for sample in samples if (sample.identity or sample.name) in chosen]


def stack(samples: Iterable[Sample]) -> Picture:
    """Pictures of equal size as one (B, H, W, 3) array."""
    return np.stack([sample.picture for sample in samples])
