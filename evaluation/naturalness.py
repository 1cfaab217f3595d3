"""How near a set of pictures comes to photographs: distances on features, and statistics of the pixels themselves.

Pictures are uint8 RGB (B, H, W, 3), features float64 (N, D). "Grey" is luma in levels, 0..255.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from evaluation.data import Picture
from evaluation.metrics import Figure, Vectors, share

NEIGHBOURS = 3  # of improved precision and recall, as in the paper
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def kernel_distance(first: Vectors, second: Vectors) -> float:
    """Squared maximum mean discrepancy of features (N, D) and (M, D) under the kernel (a b / D + 1)^3, unbiased: its
    mean is 0 for sets of one distribution, so it may fall below 0 (Binkowski et al., ICLR 2018)."""
    within = [_without_diagonal(_kernel(side, side)) for side in (first, second)]
    return float(sum(within) - 2 * _kernel(first, second).mean())


def _kernel(a: Vectors, b: Vectors) -> Vectors:
    values: Vectors = (a @ b.T / a.shape[1] + 1) ** 3
    return values


def _without_diagonal(kernel: Vectors) -> float:
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


def precision_and_recall(real: Vectors, made: Vectors) -> tuple[Figure, Figure]:
    """Improved precision and recall (Kynkaanniemi et al., NeurIPS 2019): the share of `made` within the reach of a
    real one, and of `real` within the reach of a made one. A point reaches as far as its NEIGHBOURS-th neighbour in
    its own set. The intervals are Wilson's, for the sets' reaches as they are; compare at equal counts only."""
    return share(_within_reach(made, real)), share(_within_reach(real, made))


def _within_reach(points: Vectors, of: Vectors) -> NDArray[np.bool_]:
    reach = np.sort(cdist(of, of), axis=1)[:, min(NEIGHBOURS, len(of) - 1)]  # the nearest is the point itself
    inside: NDArray[np.bool_] = (cdist(points, of) <= reach).any(axis=1)
    return inside


@dataclass(frozen=True)
class Steps:
    """Mean absolute differences (B,) of grey, centred on the borders of patches and inside patches."""

    border: NDArray[np.float64]
    inside: NDArray[np.float64]


def patch_steps(pictures: Picture, patch: int, order: int = 1) -> Steps:
    """Differences of an odd order along rows and columns, for `metrics.ratio`: a picture without a grid gives about 1.

    Args:
        patch: edge of a patch in pixels.
        order: 1: steps of grey; 3: third differences, to which smooth shading gives nothing.
    """
    grey = pictures.astype(np.float32) @ _LUMA
    border, inside = [], []
    for plane in (grey, grey.transpose(0, 2, 1)):
        steps = np.abs(np.diff(plane, n=order, axis=2)).mean(axis=1)  # (B, W - order)
        on_border = (np.arange(steps.shape[1]) + (order + 1) // 2) % patch == 0
        border.append(steps[:, on_border].mean(axis=1))
        inside.append(steps[:, ~on_border].mean(axis=1))
    return Steps(np.mean(border, axis=0, dtype=np.float64), np.mean(inside, axis=0, dtype=np.float64))


def spectrum_slopes(pictures: Picture) -> NDArray[np.float64]:
    """(B,) slopes of log power over log frequency, from two periods a picture to the highest frequency along an axis:
    of grey under a Hann window, its power averaged over directions. Photographs lie about -2 to -3."""
    grey = pictures.astype(np.float64) @ _LUMA
    size = grey.shape[1]
    window = np.hanning(size)
    centred = (grey - grey.mean(axis=(1, 2), keepdims=True)) * np.outer(window, window)
    power = np.abs(np.fft.fft2(centred)) ** 2
    along = np.fft.fftfreq(size, 1 / size)
    radius = np.rint(np.hypot(along[:, None], along[None])).astype(int)
    frequencies = np.arange(2, size // 2)
    rings = np.stack([power[:, radius == f].mean(axis=1) for f in frequencies])  # (F, B)
    slopes: NDArray[np.float64] = np.polyfit(np.log(frequencies), np.log(rings + 1e-9), 1)[0]
    return slopes
