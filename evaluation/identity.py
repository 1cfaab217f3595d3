"""Is it the same person? Thresholds from strangers, and similarities of recovered pictures to their
originals.

Rules, so that no figure flatters: a face is aligned by its own landmarks. Where the detector finds none, the
picture counts as not verified; its similarity under the original's landmarks is kept apart, under the name
`NAME@original-landmarks`, and counted.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation import prompts
from evaluation.alignment import FaceFinder, Found
from evaluation.data import Picture, Sample, stack
from evaluation.errors import MaterialMissing
from evaluation.metrics import area_under_roc
from evaluation.recognisers import Recogniser, Vectors

Indices = NDArray[np.intp]
FALSE_ACCEPT_RATE = 0.01
BORROWED = "@original-landmarks"


@dataclass(frozen=True)
class Calibration:
    """What a recogniser does on real faces.

    Attributes:
        threshold: similarity that a share FALSE_ACCEPT_RATE of the pairs of strangers exceeds.
        strangers: percentiles 0..100 of the similarity of strangers.
        described_mean, described_pairs: mean similarity and number of pairs of strangers of one description
        (the
            same identity prompt). An attacker who guesses the description draws such a stranger, so this is
            the floor for prompts that are nearly right.
        stranger_mean, stranger_pairs: their mean and number.
        true_accept: share of pairs of one person (different photographs) above the threshold, of
        `same_pairs`. auc: area under the ROC of same against stranger.
        undetected: faces of the set in which the detector found none; they are left out.
    """

    recogniser: str
    threshold: float
    strangers: tuple[float, ...]
    stranger_mean: float
    stranger_pairs: int
    described_mean: float
    described_pairs: int
    true_accept: float
    same_mean: float
    same_pairs: int
    auc: float
    undetected: int

    def confidence(self, similarity: float) -> float:
        """0..100: 0 at the mean of strangers and below, 50 at the threshold, 100 for the same picture; linear
        between."""
        return float(np.interp(similarity, [self.stranger_mean, self.threshold, 1.0], [0.0, 50.0, 100.0]))

    def percentile(self, similarity: float) -> float:
        """Share of strangers, 0..1, that are less alike than `similarity`."""
        return float(np.interp(similarity, self.strangers, np.linspace(0, 1, len(self.strangers))))


@dataclass(frozen=True)
class Identified:
    """Detections in a batch of pictures and, of each recogniser, embeddings (B, D); NaN where no face was
    found."""

    found: list[Found]
    vectors: Mapping[str, Vectors]

    def part(self, indices: Sequence[int]) -> "Identified":
        chosen = list(indices)
        return Identified([self.found[i] for i in chosen], {k: v[chosen] for k, v in self.vectors.items()})


def identify(
    pictures: Picture,
    finder: FaceFinder,
    recognisers: Sequence[Recogniser],
    *,
    borrowed: Sequence[Found] | None = None,
) -> Identified:
    """Find and embed the faces of (B, H, W, 3) pictures.

    Args:
        borrowed: detections whose landmarks are used instead of the pictures' own.
    """
    found = finder.find(pictures) if borrowed is None else list(borrowed)
    marks = [one.landmarks for one in found]
    seen = [i for i, points in enumerate(marks) if points is not None]
    points = [mark for mark in marks if mark is not None]
    vectors: dict[str, Vectors] = {}
    for recogniser in recognisers:
        if not seen:
            vectors[recogniser.name] = np.full((len(pictures), 1), np.nan)
            continue
        known = recogniser.embed(pictures[seen], points)
        rows = np.full((len(pictures), known.shape[1]), np.nan)
        rows[seen] = known
        vectors[recogniser.name] = rows
    return Identified(found, vectors)


def compare(
    originals: Identified,
    pictures: Picture,
    finder: FaceFinder,
    recognisers: Sequence[Recogniser],
) -> list[dict[str, Any]]:
    """Similarity of each picture to the original at its place.

    Returns: for each picture `face` (confidence, 0 if none) and `similarity`: name -> value. Without a face
    of its own the names carry BORROWED; where even the original shows no face, there is no value.
    """
    own = identify(pictures, finder, recognisers)
    lost = [i for i, one in enumerate(own.found) if one.face is None]
    rows: list[dict[str, Any]] = [{"face": round(one.confidence, 4), "similarity": {}} for one in own.found]
    _fill(rows, range(len(rows)), originals, own, recognisers, "")
    if lost:
        base = originals.part(lost)
        lent = identify(pictures[lost], finder, recognisers, borrowed=base.found)
        _fill(rows, lost, base, lent, recognisers, BORROWED)
    return rows


def _fill(
    rows: list[dict[str, Any]],
    places: Sequence[int],
    originals: Identified,
    others: Identified,
    recognisers: Sequence[Recogniser],
    mark: str,
) -> None:
    for recogniser in recognisers:
        first, second = originals.vectors[recogniser.name], others.vectors[recogniser.name]
        for here, place in enumerate(places):
            if np.isnan(first[here, 0]) or np.isnan(second[here, 0]):
                continue
            value = recogniser.similarity(first[here : here + 1], second[here : here + 1])[0, 0]
            rows[place]["similarity"][recogniser.name + mark] = round(float(value), 5)


Pair = tuple[str, str, bool]  # names of two samples, and whether they show one person


def calibrate(
    samples: Sequence[Sample],
    finder: FaceFinder,
    recognisers: Sequence[Recogniser],
    *,
    pairs: Sequence[Pair] | None = None,
    batch: int = 32,
) -> tuple[dict[str, Calibration], Identified]:
    """Threshold at FALSE_ACCEPT_RATE of a set with identities, and its embeddings.

    Args:
        pairs: a protocol's own pairs (LFW); None: all pairs of the set.

    Raises:
        MaterialMissing: no pair of strangers, or none of one person, with both faces found.
    """
    starts = range(0, len(samples), batch)
    parts = [identify(stack(samples[start : start + batch]), finder, recognisers) for start in starts]
    found = [one for part in parts for one in part.found]
    vectors = {r.name: _concatenate([part.vectors[r.name] for part in parts]) for r in recognisers}
    result = {r.name: _calibration(r, vectors[r.name], samples, pairs) for r in recognisers}
    return result, Identified(found, vectors)


def _concatenate(parts: Sequence[Vectors]) -> Vectors:
    width = max(part.shape[1] for part in parts)  # a batch without any face is one NaN wide
    whole = [part if part.shape[1] == width else np.full((len(part), width), np.nan) for part in parts]
    return np.concatenate(whole)


def _all_pairs(samples: Sequence[Sample], seen: NDArray[np.bool_]) -> tuple[Indices, Indices, NDArray[np.bool_]]:
    owners = np.array([sample.identity or sample.name for sample in samples])
    places = np.flatnonzero(seen)
    first, second = (places[part] for part in np.triu_indices(len(places), k=1))
    return first, second, owners[first] == owners[second]


def _given_pairs(
    samples: Sequence[Sample], seen: NDArray[np.bool_], pairs: Sequence[Pair]
) -> tuple[Indices, Indices, NDArray[np.bool_]]:
    place = {sample.name: i for i, sample in enumerate(samples) if seen[i]}
    known = [(place[a], place[b], same) for a, b, same in pairs if a in place and b in place]
    columns = np.array(known, dtype=np.intp).reshape(-1, 3)
    return columns[:, 0], columns[:, 1], columns[:, 2].astype(bool)


def _scores(recogniser: Recogniser, vectors: Vectors, first: Indices, second: Indices) -> Vectors:
    """Similarity of each pair, row by row of the matrix, which as a whole may not fit the memory."""
    scores = np.empty(len(first))
    order = np.argsort(first, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(first[order])) + 1):
        if len(part):
            row = recogniser.similarity(vectors[first[part[:1]]], vectors[second[part]])
            scores[part] = row[0]
    return scores


def _calibration(
    recogniser: Recogniser, vectors: Vectors, samples: Sequence[Sample], pairs: Sequence[Pair] | None
) -> Calibration:
    seen = ~np.isnan(vectors[:, 0])
    chosen = _all_pairs(samples, seen) if pairs is None else _given_pairs(samples, seen, pairs)
    first, second, together = chosen
    scores = _scores(recogniser, vectors, first, second)
    strangers, same = scores[~together], scores[together]
    if not len(strangers) or not len(same):
        raise MaterialMissing("thresholds need a set with several photographs each of several people, faces visible")
    described = np.array([prompts.identity(sample.fields) for sample in samples])
    alike = scores[~together & (described[first] == described[second])]
    threshold = float(np.quantile(strangers, 1 - FALSE_ACCEPT_RATE))
    return Calibration(
        recogniser=recogniser.name,
        threshold=threshold,
        strangers=tuple(float(q) for q in np.percentile(strangers, np.arange(101))),
        stranger_mean=float(strangers.mean()),
        stranger_pairs=len(strangers),
        described_mean=float(alike.mean()) if len(alike) else float(strangers.mean()),
        described_pairs=len(alike),
        true_accept=float((same > threshold).mean()),
        same_mean=float(same.mean()),
        same_pairs=len(same),
        auc=area_under_roc(strangers[:: max(1, len(strangers) // 5000)], same),
        undetected=int((~seen).sum()),
    )


def calibrated(
    folder: Path,
    samples: Sequence[Sample],
    finder: FaceFinder,
    recognisers: Sequence[Recogniser],
    pairs: Sequence[Pair] | None = None,
) -> dict[str, Calibration]:
    """`calibrate`, remembered in `folder/calibration.json` for this very set and these recognisers."""
    digest = hashlib.sha256("\0".join(r.name for r in recognisers).encode())
    digest.update(json.dumps(pairs).encode())
    for sample in samples:
        digest.update(sample.name.encode() + hashlib.sha256(sample.picture.tobytes()).digest())
    key, path = digest.hexdigest()[:16], folder / "calibration.json"
    if path.is_file():
        stored = json.loads(path.read_text())
        if stored["key"] == key:
            rows = [{**row, "strangers": tuple(row["strangers"])} for row in stored["rows"]]
            return {row["recogniser"]: Calibration(**row) for row in rows}
    result, _ = calibrate(samples, finder, recognisers, pairs=pairs)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"key": key, "rows": [asdict(one) for one in result.values()]}, indent=1))
    return result
