"""What a channel does to a picture: Table 4 of the paper, and resizing, blur and WebP beside it.

Every degradation takes and gives uint8 RGB (H, W, 3) of one size. Noise comes from the generator handed in.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from evaluation.data import Picture
from shared.diffusion.channels import gaussian_noise, jpeg, png, rescaled, salt_and_pepper, webp

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
    *(Degradation("resize", f, _plain(rescaled, f)) for f in (0.75, 0.5)),
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
