"""The lapped orthogonal transform as a prefilter (Malvar, 1992; Tran, Liang and Tu, 2003).

A code of separate patches leaves a grid: nothing ties the two sides of a patch border together. The prefilter mixes the
eight pixels around each border, rows and columns, before the patches are coded, and its transpose undoes it after
decoding. It is orthogonal, so a code that is exact stays exact, and errors keep their size.

At the picture's own border there is nothing to mix with: the outer half patch stays as it is. A convolution with zero
padding could not do that and stay orthogonal, so the filter is the matrix itself.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from torch import Tensor


def lapped_matrix(side: int, patch: int) -> NDArray[np.float64]:
    """P, orthogonal (side, side): identity but for the `patch` rows around each border between patches.

    There, with I, J (identity, reversal) and the DCT matrices C2, C4 of half a patch (Malvar's fast LOT):
    P = 1/2 [I J; J -I] diag(I, V) [I J; J -I], V = J C2^T C4 J.
    """
    half = patch // 2
    eye, zero = np.eye(half), np.zeros((half, half))
    flip = eye[::-1]
    c2, c4 = dct(eye, type=2, norm="ortho", axis=0), dct(eye, type=4, norm="ortho", axis=0)
    butterfly = np.block([[eye, flip], [flip, -eye]])
    inner = np.block([[eye, zero], [zero, flip @ c2.T @ c4 @ flip]])
    matrix = np.eye(side)
    for border in range(patch, side, patch):
        around = slice(border - half, border + half)
        matrix[around, around] = butterfly @ inner @ butterfly / 2
    return matrix


def prefilter(x: Tensor, matrix: Tensor) -> Tensor:
    """P x P^T of each channel, (B, C, H, W)."""
    return matrix @ x @ matrix.T


def postfilter(x: Tensor, matrix: Tensor) -> Tensor:
    """P^T x P, which undoes `prefilter`."""
    return matrix.T @ x @ matrix
