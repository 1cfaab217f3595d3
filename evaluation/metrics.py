"""Structural similarity, intervals of means and shares, and the Frechet distance.

Settings, the same in every table: pictures are uint8 RGB (H, W, 3), range 255. SSIM as in Wang et al. (IEEE TIP 13,
2004): Gaussian window of sigma 1.5 (11x11), K1 .01, K2 .03, mean of the three channels.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from skimage.metrics import structural_similarity

from evaluation.data import Picture

Vectors = NDArray[np.float64]  # (N, D) features
Fold = tuple[NDArray[np.float64], NDArray[np.float64]]  # scores of covers and of stegos, by one judge
_RESAMPLES = 2000
_Z95 = float(norm.ppf(0.975))


def ssim(reference: Picture, picture: Picture) -> float:
    """Structural similarity, -1..1, with the settings at the top of this file; pictures of at least 11x11."""
    return float(
        structural_similarity(
            reference,
            picture,
            channel_axis=2,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


@dataclass(frozen=True)
class Figure:
    """One published number: a mean or a share over `count` pictures with its 95 % interval."""

    value: float
    low: float
    high: float
    count: int
    interval: str  # "bootstrap", "wilson" or "jackknife"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def text(self, digits: int = 2, *, percent: bool = False) -> str:
        """`value [low, high]`, for a report."""
        scale, sign = (100.0, " %") if percent else (1.0, "")
        value, low, high = (scale * number for number in (self.value, self.low, self.high))
        return f"{value:.{digits}f}{sign} [{low:.{digits}f}, {high:.{digits}f}]"


def mean(values: Sequence[float] | NDArray[np.float64], seed: int = 0) -> Figure:
    """Mean with its percentile bootstrap interval (Efron, 1979; 2000 resamples drawn by the seed).

    Raises:
        ValueError: no values.
    """
    data = np.asarray(values, dtype=np.float64)
    if not data.size:
        raise ValueError("the mean of nothing")
    draws = np.random.default_rng(seed).integers(0, data.size, (_RESAMPLES, data.size))
    low, high = np.percentile(data[draws].mean(axis=1), [2.5, 97.5])
    return Figure(float(data.mean()), float(low), float(high), int(data.size), "bootstrap")


def ratio(above: Sequence[float] | Vectors, below: Sequence[float] | Vectors, seed: int = 0) -> Figure:
    """Sum of `above` over sum of `below`, one of each a picture, with the bootstrap interval of `mean`.

    Raises:
        ValueError: no values, or a sum of zero below.
    """
    pairs = np.stack([np.asarray(above, np.float64), np.asarray(below, np.float64)])
    if not pairs.size or not pairs[1].sum():
        raise ValueError("a ratio to nothing")
    draws = np.random.default_rng(seed).integers(0, pairs.shape[1], (_RESAMPLES, pairs.shape[1]))
    sums = pairs[:, draws].sum(axis=2)
    low, high = np.percentile(sums[0] / sums[1], [2.5, 97.5])
    return Figure(float(pairs[0].sum() / pairs[1].sum()), float(low), float(high), pairs.shape[1], "bootstrap")


def share(hits: Sequence[bool] | NDArray[np.bool_]) -> Figure:
    """Share of hits with Wilson's interval: the bootstrap's has no width at 0 and at 1, where our figures
    lie.

    Raises:
        ValueError: no values.
    """
    count = len(hits)
    if not count:
        raise ValueError("the share of nothing")
    p = float(np.count_nonzero(hits)) / count
    z2 = _Z95**2
    centre = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 / (1 + z2 / count) * float(np.sqrt(p * (1 - p) / count + z2 / (4 * count**2)))
    return Figure(p, max(0.0, centre - half), min(1.0, centre + half), count, "wilson")


def frechet_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Frechet distance of two Gaussians fitted to features (N, D) and (M, D): |m1-m2|^2 + tr(C1+C2-2(C1
    C2)^1/2).

    It is called FID only with the features of the standard Inception network (Heusel et al., NeurIPS 2017);
    with others it goes under their name. It is biased upwards for few samples: compare at equal counts only.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise ValueError("features must be (N, D) and (M, D) with N, M >= 2")
    gap = first.mean(axis=0) - second.mean(axis=0)
    # With centred rows A and B, tr (C1 C2)^1/2 is the sum of the singular values of A B^T: nothing of the size of the
    # features is decomposed, and fewer samples than dimensions do not matter.
    a, b = ((part - part.mean(axis=0)) / np.sqrt(len(part) - 1) for part in (first, second))
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(0.0, float(gap @ gap + (a**2).sum() + (b**2).sum() - 2 * cross))


def frechet(first: Vectors, second: Vectors, seed: int = 0, groups: int = 10) -> Figure:
    """`frechet_distance` with the interval of `jackknifed`, cut off at 0."""
    found = jackknifed(frechet_distance, first, second, seed, groups)
    return replace(found, low=max(0.0, found.low))


def jackknifed(
    distance: Callable[[Vectors, Vectors], float], first: Vectors, second: Vectors, seed: int = 0, groups: int = 10
) -> Figure:
    """A distance of two sets of features (N, D) and (M, D) with a 95 % interval by a delete-a-group jackknife over
    both (a bootstrap repeats samples, which these distances take for lost variance)."""
    value = distance(first, second)
    groups = min(groups, len(first) // 2, len(second) // 2)
    if groups < 2:
        return Figure(value, -float("inf"), float("inf"), len(first), "jackknife")
    rng = np.random.default_rng(seed)
    parts = [rng.permutation(len(side)) % groups for side in (first, second)]
    left = np.array([distance(first[parts[0] != g], second[parts[1] != g]) for g in range(groups)])
    error = _Z95 * float(np.sqrt((groups - 1) / groups * ((left - left.mean()) ** 2).sum()))
    return Figure(value, value - error, value + error, len(first), "jackknife")


def roc(covers: NDArray[np.float64], stegos: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates of `score >= threshold` over all thresholds, both rising from 0 to 1."""
    thresholds = np.concatenate([[np.inf], np.unique(np.concatenate([covers, stegos]))[::-1]])
    false = 1 - np.searchsorted(np.sort(covers), thresholds, side="left") / len(covers)
    true = 1 - np.searchsorted(np.sort(stegos), thresholds, side="left") / len(stegos)
    return false, true


def area_within(folds: Sequence[Fold]) -> float:
    """Mean of the folds' areas: scores of two judges have scales of their own, and one ROC of both would mix these."""
    return float(np.mean([area_under_roc(covers, stegos) for covers, stegos in folds]))


def area_under_roc(covers: NDArray[np.float64], stegos: NDArray[np.float64]) -> float:
    """Chance that a stego scores above a cover, ties counting half (Mann-Whitney)."""
    false, true = roc(covers, stegos)
    return float(np.trapezoid(true, false))
