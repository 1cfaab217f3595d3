"""Is it the same person? Thresholds from strangers, and similarities of recovered pictures to their
originals.

Rules, so that no figure flatters: a face is aligned by its own landmarks. Where the detector finds none, the
picture counts as not verified; its similarity under the original's landmarks is kept apart, under the name
`NAME@original-landmarks`, and counted.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.alignment import FaceFinder, Found
from evaluation.data import Picture, Sample, stack
from evaluation.mtcnn import Face
from evaluation.recognisers import Recogniser, Vectors
from evaluation.runs import Progress, silent

BORROWED = "@original-landmarks"


@dataclass(frozen=True)
class Calibration:
    """What a recogniser does on real faces.

    Attributes:
        threshold: similarity that a share FALSE_ACCEPT_RATE of the pairs of strangers exceeds.
        threshold_low, threshold_high: its 95 % interval by a bootstrap over people (over pairs, where a protocol
            gives them): pairs that share a person are not independent.
        strangers: percentiles 0..100 of the similarity of strangers.
        described_mean, described_pairs: mean similarity and number of pairs of strangers of one description (the
            same identity prompt). An attacker who guesses the description draws such a stranger, so this is the
            floor for prompts that are nearly right.
        described_accept: share of those pairs above the threshold.
        stranger_mean, stranger_pairs: their mean and number.
        true_accept: share of pairs of one person (different photographs) above the threshold, of `same_pairs`, with
            its interval by the same bootstrap (each resample has a threshold of its own).
        auc: area under the ROC of same against stranger.
        undetected: faces of the set in which the detector found none; they are left out.
    """

    recogniser: str
    threshold: float
    threshold_low: float
    threshold_high: float
    strangers: tuple[float, ...]
    stranger_mean: float
    stranger_pairs: int
    described_mean: float
    described_pairs: int
    described_accept: float
    true_accept: float
    true_accept_low: float
    true_accept_high: float
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
    of its own the names carry BORROWED; where even the original shows no face, there is no value. `others`: name ->
    mean similarity of the picture to the originals at the other places, the control for what a picture shares with
    any face of the set; absent where there are none.
    """
    own = identify(pictures, finder, recognisers)
    lost = [i for i, one in enumerate(own.found) if one.face is None]
    rows: list[dict[str, Any]] = [{"face": round(one.confidence, 4), "similarity": {}} for one in own.found]
    _fill(rows, range(len(rows)), originals, own, recognisers, "")
    _control(rows, originals, own, recognisers)
    if lost:
        base = originals.part(lost)
        lent = identify(pictures[lost], finder, recognisers, borrowed=base.found)
        _fill(rows, lost, base, lent, recognisers, BORROWED)
    return rows


def _control(
    rows: list[dict[str, Any]], originals: Identified, own: Identified, recognisers: Sequence[Recogniser]
) -> None:
    for recogniser in recognisers:
        known, seen = originals.vectors[recogniser.name], own.vectors[recogniser.name]
        there = ~np.isnan(known[:, 0])
        for place, row in enumerate(rows):
            others = there & (np.arange(len(there)) != place)
            if others.any() and not np.isnan(seen[place, 0]):
                alike = recogniser.similarity(known[others], seen[place : place + 1])
                row.setdefault("others", {})[recogniser.name] = round(float(alike.mean()), 5)


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


def digest_of(samples: Sequence[Sample]) -> str:
    """16 hex digits over names and pictures of a set."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(sample.name.encode() + hashlib.sha256(sample.picture.tobytes()).digest())
    return digest.hexdigest()[:16]


def embedded(
    samples: Sequence[Sample],
    finder: FaceFinder,
    recognisers: Sequence[Recogniser],
    *,
    folder: Path | None = None,
    batch: int = 32,
    progress: Progress = silent,
) -> Identified:
    """Detections and embeddings of a whole set; with a folder, each recogniser's remembered there for this very set."""
    key = digest_of(samples) if folder is not None else ""
    path = folder / f"embedded-{key}.npz" if folder is not None else None
    known: dict[str, Vectors] = {}
    if path is not None and path.is_file():
        with np.load(path) as stored:
            known = {name: stored[name] for name in stored.files}
    missing = [one for one in recognisers if one.name not in known]
    if missing or _PLACES not in known:
        fresh = _embed_all(samples, finder, missing, batch, progress)
        known[_PLACES] = np.stack([_as_row(one) for one in fresh.found])
        known |= fresh.vectors
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **known)  # type: ignore[arg-type]
    found = [_from_row(row) for row in known[_PLACES]]
    return Identified(found, {one.name: known[one.name] for one in recognisers})


_PLACES = "places"


def _embed_all(
    samples: Sequence[Sample], finder: FaceFinder, recognisers: Sequence[Recogniser], batch: int, progress: Progress
) -> Identified:
    parts = []
    for start in range(0, len(samples), batch):
        progress("embedding the set", start, len(samples))
        parts.append(identify(stack(samples[start : start + batch]), finder, recognisers))
    progress("embedding the set", len(samples), len(samples))
    found = [one for part in parts for one in part.found]
    return Identified(found, {r.name: _concatenate([part.vectors[r.name] for part in parts]) for r in recognisers})


def _concatenate(parts: Sequence[Vectors]) -> Vectors:
    width = max(part.shape[1] for part in parts)  # a batch without any face is one NaN wide
    whole = [part if part.shape[1] == width else np.full((len(part), width), np.nan) for part in parts]
    return np.concatenate(whole)


def _as_row(found: Found) -> Vectors:
    """(15,): box, landmarks, confidence; NaN without a face."""
    face = found.face
    return np.full(15, np.nan) if face is None else np.r_[face.box, face.landmarks.ravel(), face.confidence]


def _from_row(row: Vectors) -> Found:
    return Found(None if np.isnan(row[0]) else Face(row[:4], row[4:14].reshape(5, 2), float(row[14])))
