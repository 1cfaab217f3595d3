"""What happens to a picture on its way, and the channels that a sender may name.

A step takes and gives uint8 RGB (H, W, 3) of one size; noise comes from the generator handed in. A stego that is made
for a channel has been read back by its sender through every one of the channel's steps.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Step = Callable[[Pixels, np.random.Generator], Pixels]


def through_file(pixels: Pixels, form: str, **options: object) -> Pixels:
    """The picture after a file of Pillow's format `form`, written with these options and read again."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


def png(pixels: Pixels) -> Pixels:
    """Through a PNG file: exact."""
    return through_file(pixels, "PNG")


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Through a JPEG file of Pillow's `quality` with its default 4:2:0 subsampling."""
    return through_file(pixels, "JPEG", quality=quality)


def webp(pixels: Pixels, quality: int) -> Pixels:
    """Through a lossy WebP file."""
    return through_file(pixels, "WEBP", quality=quality)


def gaussian_noise(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Adds N(0, sigma^2) in grey levels to every sample, rounds, clips."""
    noisy = pixels + rng.normal(0.0, sigma, pixels.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def salt_and_pepper(pixels: Pixels, p: float, rng: np.random.Generator) -> Pixels:
    """Sets a share `p` of the pixels, all channels together, to black or white with equal chance."""
    chance = rng.random(pixels.shape[:2])
    noisy = pixels.copy()
    noisy[chance < p] = 255
    noisy[chance < p / 2] = 0
    return noisy


def resized(pixels: Pixels, side: int) -> Pixels:
    """To `side` x `side` pixels with Lanczos."""
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


def rescaled(pixels: Pixels, factor: float) -> Pixels:
    """Scaled by `factor` with Lanczos and back to the old size."""
    height, width = pixels.shape[:2]
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    scaled = Image.fromarray(pixels).resize(small, Image.Resampling.LANCZOS)
    return np.asarray(scaled.resize((width, height), Image.Resampling.LANCZOS))


def _untouched(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return pixels


def _jpeg(quality: int) -> Step:
    return lambda pixels, rng: jpeg(pixels, quality)


def _webp(quality: int) -> Step:
    return lambda pixels, rng: webp(pixels, quality)


def _noise(sigma: float) -> Step:
    return lambda pixels, rng: gaussian_noise(pixels, sigma, rng)


def _salt_and_pepper(p: float) -> Step:
    return lambda pixels, rng: salt_and_pepper(pixels, p, rng)


def _rescaled(factor: float) -> Step:
    return lambda pixels, rng: rescaled(pixels, factor)


@dataclass(frozen=True)
class Channel:
    """A way that a stego may go.

    Attributes:
        steps: name -> what may happen on it; a stego survives each of them. Loud noise a little louder than promised:
            on the way it is drawn anew.
        walk_steps: diffusion steps of one walk in which stegos for it are drawn: fewer carry more where it is rough.
    """

    name: str
    steps: dict[str, Step]
    walk_steps: int


CHANNELS = {
    c.name: c
    for c in (
        Channel("lossless", {"png": _untouched, "salt and pepper 2 %": _salt_and_pepper(0.02)}, 10),
        Channel("jpeg", {"jpeg 80": _jpeg(80), "webp 80": _webp(80)}, 5),
        Channel("messenger", {"jpeg 40": _jpeg(40), "scaled to .75": _rescaled(0.75), "noise 10": _noise(10)}, 5),
        Channel("degraded", {"jpeg 20": _jpeg(20), "noise 30": _noise(1.05 * 30)}, 5),
    )
}
