"""Features for a Frechet distance between two sets of pictures, and the name under which it may be
published."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.data import Picture
from evaluation.errors import MaterialMissing
from evaluation.lpips import Lpips
from evaluation.metrics import Figure, frechet

Vectors = NDArray[np.float64]
_CHUNK = 32


@dataclass(frozen=True)
class Features:
    """`embed`: (B, H, W, 3) uint8 to (B, D). `name` is "FID" for the standard Inception features alone."""

    name: str
    embed: Callable[[Picture], Vectors]

    def distance(self, first: Picture, second: Picture) -> Figure:
        """Frechet distance of two sets; meaningful beside another one of equal counts only."""
        return frechet(self._all(first), self._all(second))

    def _all(self, pictures: Picture) -> Vectors:
        parts = range(0, len(pictures), _CHUNK)
        return np.concatenate([self.embed(pictures[start : start + _CHUNK]) for start in parts])


def load_features(inception: Path | None = None) -> Features:
    """Standard Inception features from their TorchScript file (`inception-2015-12-05.pt`, as published with
    StyleGAN3), which takes uint8 (B, 3, H, W); without it, AlexNet's, under their own name.

    Raises:
        MaterialMissing: neither can be had.
    """
    if inception is None:
        return Features("Frechet distance on AlexNet conv5 (256-d)", Lpips().features)
    if not inception.is_file():
        raise MaterialMissing("no Inception weights at the given path")
    net = torch.jit.load(str(inception), map_location="cpu").eval()  # type: ignore[no-untyped-call]

    def embed(pictures: Picture) -> Vectors:
        with torch.inference_mode():
            x = torch.from_numpy(pictures).permute(0, 3, 1, 2)
            vectors: Vectors = net(x, return_features=True).numpy().astype(np.float64)
        return vectors

    return Features("FID", embed)
