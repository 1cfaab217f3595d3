"""How far a picture is from another."""

import numpy as np
from numpy.typing import NDArray

IDENTICAL_DB = 100.0  # PSNR given to identical pictures, whose true one is infinite and would swallow a mean


def psnr(reference: NDArray[np.uint8], picture: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of two pictures, all channels at once.

    Raises:
        ValueError: their shapes differ.
    """
    if reference.shape != picture.shape:
        raise ValueError("pictures of different sizes have no PSNR")
    return decibels(float(np.mean((reference.astype(np.float64) - picture) ** 2)))


def psnrs(references: NDArray[np.uint8], pictures: NDArray[np.uint8]) -> list[float]:
    """`psnr` of each picture of a batch (B, H, W, 3) to the one at its place."""
    return [psnr(one, other) for one, other in zip(references, pictures, strict=True)]


def decibels(error: float) -> float:
    """PSNR of a mean squared error in grey levels, 0..255; IDENTICAL_DB for none."""
    return IDENTICAL_DB if error == 0 else min(IDENTICAL_DB, 10 * float(np.log10(255**2 / error)))
