"""Judges that learn from features of photographs: which scene a picture shows, and whether it is a stego."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from evaluation.metrics import Vectors, area_under_roc
from evaluation.runs import Row

SPLITS = 5  # divisions into halves
_RESAMPLES = 300
Indices = NDArray[np.intp]


def classifier() -> Pipeline:
    """Logistic regression on standardised features, classes of equal weight; deterministic."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000, tol=1e-3))


@dataclass(frozen=True)
class SceneJudge:
    """Names the scene of features (N, D).

    Attributes:
        held_out: share of each kind's photographs named rightly, of those left out of its training.
    """

    fitted: Pipeline
    held_out: dict[str, float]

    @classmethod
    def trained(cls, vectors: Vectors, scenes: Sequence[str], seed: int) -> "SceneJudge":
        """Trained on four fifths of (N, D), drawn by the seed, and tried on the last."""
        labels = np.asarray(scenes)
        fold = np.random.default_rng(seed).permutation(len(labels)) % 5
        fitted = classifier().fit(vectors[fold > 0], labels[fold > 0])
        tried = labels[fold == 0]
        right = fitted.predict(vectors[fold == 0]) == tried
        return cls(fitted, {kind: float(right[tried == kind].mean()) for kind in sorted(set(tried.tolist()))})

    def right(self, vectors: Vectors, scenes: Sequence[str]) -> NDArray[np.bool_]:
        """(N,) whether each is named as `scenes` says."""
        hits: NDArray[np.bool_] = self.fitted.predict(vectors) == np.asarray(scenes)
        return hits


@dataclass(frozen=True)
class _Fold:
    """One judge's scores of the pairs that it did not see."""

    pairs: Indices
    first: Vectors
    second: Vectors


def told_apart(first: Vectors, second: Vectors, seed: int) -> Row:
    """Area under the ROC of a classifier of `second` against `first`, features (N, D) each, trained on half of them and
    tried on the other half, both ways, in SPLITS divisions. A pair at equal places stays together.

    Returns:
        `auc`, the mean over all folds, and `auc_interval`, a 95 % bootstrap over pictures, each with its scores in all.
    """
    folds = [fold for i in range(SPLITS) for fold in _halves(first, second, np.random.default_rng([seed, i]))]
    rng, count = np.random.default_rng(seed), len(first)
    draws = [_area(folds, rng.integers(0, count, count), rng.integers(0, count, count)) for _ in range(_RESAMPLES)]
    whole = np.arange(count)
    return {"auc": _area(folds, whole, whole), "auc_interval": np.percentile(draws, [2.5, 97.5]).tolist()}


def _halves(first: Vectors, second: Vectors, rng: np.random.Generator) -> list[_Fold]:
    order = rng.permutation(len(first))
    folds = []
    for kept, held in ((order[::2], order[1::2]), (order[1::2], order[::2])):
        labels = np.repeat([0, 1], len(kept))
        fitted = classifier().fit(np.concatenate([first[kept], second[kept]]), labels)
        folds.append(_Fold(held, *(fitted.decision_function(side[held]) for side in (first, second))))
    return folds


def _area(folds: Sequence[_Fold], first: Indices, second: Indices) -> float:
    """Mean of the folds' areas over drawn pictures; a picture drawn twice counts twice."""
    times = [np.bincount(drawn, minlength=len(drawn)) for drawn in (first, second)]
    areas = []
    for fold in folds:
        covers, stegos = (np.repeat(s, t[fold.pairs]) for s, t in zip((fold.first, fold.second), times, strict=True))
        if len(covers) and len(stegos):  # a resample of few may leave a half empty
            areas.append(area_under_roc(covers, stegos))
    return float(np.mean(areas))
