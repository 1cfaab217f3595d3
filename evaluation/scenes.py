"""Photographs of scenes for `stegos`: those to be compared with, those that a judge learns from, and captions."""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from evaluation.data import Sample, load_set, material_folder, pick, stack
from evaluation.errors import MaterialMissing
from evaluation.features import Features
from evaluation.metrics import Vectors
from evaluation.runs import Progress, silent
from shared.errors import InvalidOption
from training.captions import SCENE_NOUNS, scene_caption

REFERENCE_SHARE = 3
PER_KIND = 300  # photographs of a kind and tar from which the scenes' judge learns
TRAINING = "scenes-*.tar"
Fields = Mapping[str, Any]
_One = TypeVar("_One")


@dataclass(frozen=True)
class Photographs:
    """Photographs with a known scene: `reference` and `others` of eval-scenes at the places of `scenes`."""

    reference: list[Sample]
    others: list[Sample]

    @property
    def scenes(self) -> list[str]:
        return [scene_of(sample) for sample in self.reference]


@dataclass(frozen=True)
class Task:
    """What to draw: captions and their scenes. The first `compared` have a reference photograph at their place."""

    captions: list[str]
    scenes: list[str]
    compared: int


def scene_of(sample: Sample) -> str:
    return str(sample.fields["scene"])


def divide(samples: Sequence[Sample], records: Sequence[Fields], limit: int, seed: int) -> tuple[Photographs, Task]:
    """Photographs for the reference and as many others of the same scenes, none in both, and what to draw.

    Args:
        records: fields of photographs of all kinds, for the captions of those kinds that `samples` has not.

    Raises:
        InvalidOption: a kind has too few photographs for so many stegos.
    """
    pool = _by_kind((scene_of(sample), sample) for sample in pick(samples, None, seed))
    texts = _by_kind((str(record["scene"]), record) for record in records if str(record["scene"]) not in pool)
    turns = [*sorted(pool) * REFERENCE_SHARE, *sorted(set(SCENE_NOUNS) & set(texts))]
    kinds = [turns[i % len(turns)] for i in range(limit)]
    reference, others = [], []
    for place, kind in enumerate(kinds):
        if kind in pool:
            used = kinds[:place].count(kind)
            if 2 * used + 1 >= len(pool[kind]):
                raise InvalidOption(f"there are too few photographs of '{kind}' for so many stegos; take a lower limit")
            reference.append(pool[kind][2 * used])
            others.append(pool[kind][2 * used + 1])
    rng = random.Random(seed)
    rest = [rng.choice(texts[kind]) for kind in kinds if kind in texts]
    fields = [*(sample.fields for sample in reference), *rest]
    task = Task([named(one, rng) for one in fields], [str(one["scene"]) for one in fields], len(reference))
    return Photographs(reference, others), task


def _by_kind(pairs: Iterable[tuple[str, _One]]) -> dict[str, list[_One]]:
    kinds: dict[str, list[_One]] = {}
    for kind, one in pairs:
        kinds.setdefault(kind, []).append(one)
    return kinds


def named(record: Fields, rng: random.Random) -> str:
    """A caption of training's that names the scene (some say no more than "a landscape")."""
    while True:
        text = scene_caption(dict(record), rng)
        if any(noun in text for noun in SCENE_NOUNS[str(record["scene"])]):
            return text


@dataclass(frozen=True)
class TrainingSet:
    """Features (N, D) of training photographs, and their fields."""

    vectors: Vectors
    records: list[dict[str, Any]]

    @property
    def scenes(self) -> list[str]:
        return [str(record["scene"]) for record in self.records]


def training_set(
    features: Features, out: Path, size: int, seed: int, progress: Progress = silent, per_kind: int = PER_KIND
) -> TrainingSet:
    """At most `per_kind` photographs of each kind in each tar of training scenes, remembered in `out/features`.

    Raises:
        MaterialMissing: there are no such tars.
    """
    parts = []
    paths = sorted((material_folder() / "data").glob(TRAINING))
    for i, path in enumerate(paths):
        progress("photographs", i, len(paths))
        words = f"{features.name} {size} {seed} {per_kind} {digest(path.read_bytes())}"
        kept = out / "features" / f"{digest(words.encode())}.npz"
        parts.append(_remembered(kept, _learned(features, path, size, seed, per_kind)))
    if not parts:
        raise MaterialMissing(f"the material holds no {TRAINING}")
    return TrainingSet(np.concatenate([part.vectors for part in parts]), [r for part in parts for r in part.records])


def _learned(features: Features, path: Path, size: int, seed: int, per_kind: int) -> Callable[[], TrainingSet]:
    def make() -> TrainingSet:
        kinds = _by_kind((scene_of(sample), sample) for sample in pick(load_set(path, "", size=size), None, seed))
        kept = [sample for kind in sorted(kinds) for sample in kinds[kind][:per_kind]]
        return TrainingSet(features.all(stack(kept)), [dict(sample.fields) for sample in kept])

    return make


def _remembered(path: Path, make: Callable[[], TrainingSet]) -> TrainingSet:
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            return TrainingSet(stored["vectors"], json.loads(str(stored["records"])))
    made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part.npz")
    np.savez(half, vectors=made.vectors, records=np.array(json.dumps(made.records)))
    half.replace(path)
    return made


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
