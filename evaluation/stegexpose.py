"""The four detectors of LSB replacement that StegExpose fuses (Boehm, 2014), written from their own papers.

Each estimates p, the share of samples whose lowest bit carries a message (half of those bits change),
channel by channel; the three channels are averaged. `None`: the equation has no real root, the detector has
no opinion.

    primary sets   Dumitrescu, Wu, Memon, ICIP 2002
    sample pairs   Dumitrescu, Wu, Wang, IEEE TSP 51, 2003
    RS analysis    Fridrich, Goljan, Du, IEEE Multimedia 8, 2001
    chi-square     Westfeld, Pfitzmann, Information Hiding 1999 (its score is the p-value)
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from evaluation.data import Picture

Plane = NDArray[np.int64]  # (H, W), one channel
SUSPICIOUS = 0.2  # fused score from which StegExpose calls a picture suspicious
_PAIR_ORDERS = 30  # differences that sample pairs sums over; the paper's choice
_RS_MASK = np.array([0, 1, 1, 0])


def _smaller_root(a: float, b: float, c: float) -> float | None:
    """Root of a x^2 + b x + c nearest to zero."""
    if abs(a) < 1e-12:
        return None if abs(b) < 1e-12 else -c / b
    inside = b * b - 4 * a * c
    if inside < 0:
        return None
    roots = ((-b + np.sqrt(inside)) / (2 * a), (-b - np.sqrt(inside)) / (2 * a))
    return float(min(roots, key=abs))


def _pairs(plane: Plane) -> tuple[Plane, Plane]:
    """All pairs of neighbours, across and down, as two flat arrays."""
    across, down = (plane[:, :-1], plane[:, 1:]), (plane[:-1], plane[1:])
    first = np.concatenate([across[0].ravel(), down[0].ravel()])
    return first, np.concatenate([across[1].ravel(), down[1].ravel()])


def primary_sets(plane: Plane) -> float | None:
    """p from g/2 p^2 + (2|X| - |P|) p + |Y| - |X| = 0 with g = |W| + |Z|."""
    u, v = _pairs(plane)
    even = v % 2 == 0
    x = int(np.count_nonzero((even & (u < v)) | (~even & (u > v))))
    y = int(np.count_nonzero((even & (u > v)) | (~even & (u < v))))
    same_high = int(np.count_nonzero(u // 2 == v // 2))  # W: differ in the lowest bit only; Z: equal
    return _smaller_root(same_high / 2, 2 * x - len(u), y - x)


def sample_pairs(plane: Plane) -> float | None:
    """p from the trace sets C_m, D_2m, X_2m+1 and Y_2m+1, summed over m = 0..30."""
    u, v = _pairs(plane)
    difference, high = np.abs(u - v), np.abs(u // 2 - v // 2)
    odd = difference % 2 == 1
    within = odd & (difference <= 2 * _PAIR_ORDERS + 1)
    x = int(np.count_nonzero(within & (2 * high == difference + 1)))
    y = int(np.count_nonzero(within & (2 * high == difference - 1)))
    c0, c_end = np.count_nonzero(high == 0), np.count_nonzero(high == _PAIR_ORDERS + 1)
    d0, d_end = np.count_nonzero(difference == 0), np.count_nonzero(difference == 2 * _PAIR_ORDERS + 2)
    return _smaller_root((2 * c0 - c_end) / 4, -(2 * d0 - d_end + 2 * (y - x)) / 2, y - x)


def rs_analysis(plane: Plane) -> float | None:
    """p from the shares of regular and singular groups of four neighbours in a row, mask (0, 1, 1, 0)."""
    width = plane.shape[1] // 4 * 4
    groups = plane[:, :width].reshape(-1, 4)
    d0, n0 = _regular_minus_singular(groups)
    d1, n1 = _regular_minus_singular(groups ^ 1)
    x = _smaller_root(2 * (d1 + d0), n0 - n1 - d1 - 3 * d0, d0 - n0)
    return None if x is None or x == 0.5 else x / (x - 0.5)


def _regular_minus_singular(groups: Plane) -> tuple[float, float]:
    """R - S under the flipping F1 (2k <-> 2k+1) and under F-1 (2k-1 <-> 2k), as shares of the groups."""
    before = _roughness(groups)
    positive = np.where(_RS_MASK == 1, groups ^ 1, groups)
    negative = np.where(_RS_MASK == 1, ((groups + 1) ^ 1) - 1, groups)
    return tuple(float(np.sign(_roughness(one) - before).mean()) for one in (positive, negative))  # type: ignore[return-value]


def _roughness(groups: Plane) -> Plane:
    rough: Plane = np.abs(np.diff(groups, axis=1)).sum(axis=1)
    return rough


def chi_square(plane: Plane) -> float | None:
    """Chance that the two values of each pair (2k, 2k+1) are equally frequent, over the whole channel.

    Blocks, as for messages that fill a picture from its start, see too few samples at 128x128 pixels and
    accuse every picture.
    """
    histogram = np.bincount(plane.ravel(), minlength=256).reshape(128, 2)
    expected = histogram.sum(axis=1) / 2
    used = expected >= 5  # the test's usual condition
    if np.count_nonzero(used) < 2:
        return None
    # One cell of each pair only, as published: under full embedding the chance then goes to 1, not to any
    # value.
    statistic = ((histogram[used, 0] - expected[used]) ** 2 / expected[used]).sum()
    return float(chi2.sf(statistic, np.count_nonzero(used) - 1))


DETECTORS: Mapping[str, Callable[[Plane], float | None]] = {
    "primary-sets": primary_sets,
    "sample-pairs": sample_pairs,
    "rs-analysis": rs_analysis,
    "chi-square": chi_square,
}


def scores(picture: Picture) -> dict[str, float | None]:
    """Each detector's score of an (H, W, 3) picture: absolute, at most 1, averaged over channels; None if it
    failed on all."""
    planes = [picture[..., c].astype(np.int64) for c in range(3)]
    result: dict[str, float | None] = {}
    for name, detector in DETECTORS.items():
        known = [min(1.0, abs(p)) for p in map(detector, planes) if p is not None]
        result[name] = float(np.mean(known)) if known else None
    return result


def fused(parts: Mapping[str, float | None]) -> float:
    """StegExpose's fusion: the plain mean of the detectors that have an opinion; 0 if none has."""
    known = [value for value in parts.values() if value is not None]
    return float(np.mean(known)) if known else 0.0


def embed_lsb(picture: Picture, rate: float, rng: np.random.Generator) -> Picture:
    """Replace the lowest bit of a share `rate` of the samples by random bits: the known answer of the
    tests."""
    chosen = rng.random(picture.shape) < rate
    bits = rng.integers(0, 2, picture.shape, dtype=np.uint8)
    return np.where(chosen, (picture & 0xFE) | bits, picture).astype(np.uint8)
