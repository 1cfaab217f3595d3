"""Thresholds at a false accept rate of 1 %, from the pairs of a set with identities, and how sure they are."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation import prompts
from evaluation.alignment import FaceFinder
from evaluation.data import Sample
from evaluation.errors import MaterialMissing
from evaluation.identity import Calibration, Identified, digest_of, embedded
from evaluation.metrics import area_under_roc
from evaluation.recognisers import Recogniser, Vectors
from evaluation.runs import Progress, silent

Indices = NDArray[np.intp]
Pair = tuple[str, str, bool]  # names of two samples, and whether they show one person
FALSE_ACCEPT_RATE = 0.01
_RESAMPLES = 200


def calibrated(
    folder: Path,
    samples: Sequence[Sample],
    finder: FaceFinder,
    recognisers: Sequence[Recogniser],
    pairs: Sequence[Pair] | None = None,
    progress: Progress = silent,
) -> dict[str, Calibration]:
    """`calibrate`, remembered in `folder/calibration.json` for this very set and these recognisers."""
    words = [digest_of(samples), [r.name for r in recognisers], pairs, FALSE_ACCEPT_RATE, _RESAMPLES]
    key, path = hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16], folder / "calibration.json"
    if path.is_file():
        stored = json.loads(path.read_text())
        if stored["key"] == key:
            rows = [{**row, "strangers": tuple(row["strangers"])} for row in stored["rows"]]
            return {row["recogniser"]: Calibration(**row) for row in rows}
    seen = embedded(samples, finder, recognisers, folder=folder, progress=progress)
    result = calibrate(samples, seen, recognisers, pairs=pairs)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"key": key, "rows": [asdict(one) for one in result.values()]}, indent=1))
    return result


def calibrate(
    samples: Sequence[Sample],
    seen: Identified,
    recognisers: Sequence[Recogniser],
    *,
    pairs: Sequence[Pair] | None = None,
) -> dict[str, Calibration]:
    """Threshold at FALSE_ACCEPT_RATE of a set with identities.

    Args:
        seen: `embedded` of the samples.
        pairs: a protocol's own pairs (LFW); None: all pairs of the set.

    Raises:
        MaterialMissing: no pair of strangers, or none of one person, with both faces found.
    """
    return {one.name: _calibration(one, seen.vectors[one.name], samples, pairs) for one in recognisers}


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
    first, second, together = _all_pairs(samples, seen) if pairs is None else _given_pairs(samples, seen, pairs)
    scores = _scores(recogniser, vectors, first, second)
    people = None if pairs is not None else _people(samples)
    return from_scores(
        recogniser.name, samples, Scored(first, second, together, scores), people, undetected=int((~seen).sum())
    )


@dataclass(frozen=True)
class Scored:
    """Pairs (N,) by their places in a set: whether each shows one person, and how alike it was found."""

    first: Indices
    second: Indices
    together: NDArray[np.bool_]
    scores: Vectors


def from_scores(
    name: str, samples: Sequence[Sample], pairs: Scored, people: Indices | None = None, *, undetected: int = 0
) -> Calibration:
    """Threshold at FALSE_ACCEPT_RATE of pairs of a set that were compared already.

    Args:
        people: number of each sample's person, drawn anew for the intervals; None: pairs are.

    Raises:
        MaterialMissing: no pair of strangers, or none of one person.
    """
    first, second, together, scores = pairs.first, pairs.second, pairs.together, pairs.scores
    strangers, same = scores[~together], scores[together]
    if not len(strangers) or not len(same):
        raise MaterialMissing("thresholds need a set with several photographs each of several people, faces visible")
    described = np.array([prompts.identity(sample.fields) for sample in samples])
    alike = scores[~together & (described[first] == described[second])]
    threshold = float(np.quantile(strangers, 1 - FALSE_ACCEPT_RATE))
    (low, high), (accept_low, accept_high) = _intervals(scores, together, first, second, people)
    return Calibration(
        recogniser=name,
        threshold=threshold,
        threshold_low=low,
        threshold_high=high,
        strangers=tuple(float(q) for q in np.percentile(strangers, np.arange(101))),
        stranger_mean=float(strangers.mean()),
        stranger_pairs=len(strangers),
        described_mean=float(alike.mean()) if len(alike) else float(strangers.mean()),
        described_pairs=len(alike),
        described_accept=float((alike > threshold).mean()) if len(alike) else FALSE_ACCEPT_RATE,
        true_accept=float((same > threshold).mean()),
        true_accept_low=accept_low,
        true_accept_high=accept_high,
        same_mean=float(same.mean()),
        same_pairs=len(same),
        auc=area_under_roc(strangers[:: max(1, len(strangers) // 5000)], same),
        undetected=undetected,
    )


def _people(samples: Sequence[Sample]) -> Indices:
    """(N,) number of each sample's person."""
    _, person = np.unique([sample.identity or sample.name for sample in samples], return_inverse=True)
    return np.asarray(person, np.intp)


def _intervals(
    scores: Vectors, together: NDArray[np.bool_], first: Indices, second: Indices, people: Indices | None
) -> tuple[tuple[float, float], tuple[float, float]]:
    """95 % bootstrap intervals of the threshold and of the true accepts, people (None: pairs) drawn anew."""
    rng = np.random.default_rng(0)
    order = np.argsort(scores, kind="stable")
    scores, together, first, second = scores[order], together[order], first[order], second[order]
    thresholds, accepts = [], []
    for _ in range(_RESAMPLES):
        weight = _weights(rng, together, first, second, people)
        stranger = np.cumsum(np.where(together, 0.0, weight))
        if not stranger[-1] or not (same := weight * together).sum():
            continue  # a set of few people may draw one of them throughout
        place = min(int(np.searchsorted(stranger, (1 - FALSE_ACCEPT_RATE) * stranger[-1])), len(scores) - 1)
        thresholds.append(scores[place])
        accepts.append(float((same * (scores > scores[place])).sum() / same.sum()))
    low, high = (float(v) for v in np.percentile(thresholds, [2.5, 97.5]))
    accept_low, accept_high = (float(v) for v in np.percentile(accepts, [2.5, 97.5]))
    return (low, high), (accept_low, accept_high)


def _weights(
    rng: np.random.Generator, together: NDArray[np.bool_], first: Indices, second: Indices, people: Indices | None
) -> Vectors:
    """How often each pair occurs in one resample."""
    if people is None:
        return np.bincount(rng.integers(0, len(first), len(first)), minlength=len(first)).astype(float)
    count = int(people.max()) + 1
    drawn = np.bincount(rng.integers(0, count, count), minlength=count).astype(float)
    weight: Vectors = np.where(together, drawn[people[first]], drawn[people[first]] * drawn[people[second]])
    return weight
