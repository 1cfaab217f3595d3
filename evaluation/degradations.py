"""What a channel does to a picture: Table 4 of the paper, and resizing, blur and WebP beside it.

Every degradation takes and gives uint8 RGB (H, W, 3) of one size. Noise comes from the generator handed in.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from evaluation.data import Picture

Apply = Callable[[Picture, np.random.Generator], Picture]


@dataclass(frozen=True)
class Degradation:
    """One channel: `kind` and `level` for the curves, `apply` for the pictures."""

    kind: str
    level: float
    apply: Apply

    @property
    def name(self) -> str:
        return f"{self.kind} {self.level:g}" if self.kind != "none" else "none"


def _through_file(picture: Picture, **options: object) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, **options)  # type: ignore[arg-type]
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


def png(picture: Picture) -> Picture:
    """Through a PNG file: exact, and so part of every measurement as the channel that does no harm."""
    return _through_file(picture, format="PNG")


def jpeg(picture: Picture, quality: int) -> Picture:
    """Through a JPEG file of Pillow's `quality` with its default 4:2:0 subsampling."""
    return _through_file(picture, format="JPEG", quality=quality)


def webp(picture: Picture, quality: int) -> Picture:
    """Through a lossy WebP file."""
    return _through_file(picture, format="WEBP", quality=quality)


def gaussian_noise(picture: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    """Adds N(0, sigma^2) in grey levels to every sample, rounds, clips."""
    noisy = picture + rng.normal(0.0, sigma, picture.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def salt_and_pepper(picture: Picture, p: float, rng: np.random.Generator) -> Picture:
    """Sets a share `p` of the pixels, all channels together, to black or white with equal chance."""
    chance = rng.random(picture.shape[:2])
    noisy = picture.copy()
    noisy[chance < p] = 255
    noisy[chance < p / 2] = 0
    return noisy


def resize(picture: Picture, factor: float) -> Picture:
    """Down by `factor` with Lanczos and back up to the old size."""
    image = Image.fromarray(picture)
    small = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    down = image.resize(small, Image.Resampling.LANCZOS)
    return np.asarray(down.resize(image.size, Image.Resampling.LANCZOS))


def blur(picture: Picture, sigma: float) -> Picture:
    """Gaussian blur of `sigma` pixels (Pillow's approximation by three box blurs)."""
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(sigma)))


def _plain(function: Callable[[Picture, float], Picture], level: float) -> Apply:
    return lambda picture, _: function(picture, level)


def _random(function: Callable[[Picture, float, np.random.Generator], Picture], level: float) -> Apply:
    return lambda picture, rng: function(picture, level, rng)


CLEAN = Degradation("none", 0, lambda picture, _: png(picture))
TABLE_4: tuple[Degradation, ...] = (
    *(Degradation("noise", s, _random(gaussian_noise, s)) for s in (10.0, 20.0, 30.0)),
    *(Degradation("jpeg", q, _plain(lambda x, level: jpeg(x, int(level)), q)) for q in (80.0, 40.0, 20.0)),
    *(Degradation("salt-pepper", p, _random(salt_and_pepper, p)) for p in (0.01, 0.02)),
)
BEYOND: tuple[Degradation, ...] = (
    *(Degradation("webp", q, _plain(lambda x, level: webp(x, int(level)), q)) for q in (80.0, 40.0, 20.0)),
    *(Degradation("resize", f, _plain(resize, f)) for f in (0.75, 0.5)),
    *(Degradation("blur", s, _plain(blur, s)) for s in (0.5, 1.0)),
)


def degrade(pictures: Picture, degradation: Degradation, names: list[str], seed: int) -> Picture:
    """Degrade (B, H, W, 3) pictures. The noise of a picture depends on the seed, the channel and its name
    alone, so that it does not change with the batch."""
    parts = []
    for picture, name in zip(pictures, names, strict=True):
        words = [seed, *degradation.name.encode(), 0, *name.encode()]
        parts.append(degradation.apply(picture, np.random.default_rng(words)))
    return np.stack(parts)
