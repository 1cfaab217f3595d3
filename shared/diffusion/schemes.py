"""The schemes: what happens to z_T between the two walks.

`sealed` and `keyed` are the product's, `paper` is the publication as printed. The others are measured beside them.

    sealed     the face does not pass at all: z_T carries authenticated bits (sealed.py)
    keyed      groups of equal worth, rotation and fresh lengths (keying.py)
    paper      nothing; 60 explicit DDIM steps
    matched    nothing, but the default solver: what mixing costs
    signs      half of all signs flipped by the key
    signs5     5 % of the signs flipped (DiffStega)
    rotation   three rounds of keyed signs, DCT and permutation over all coordinates: a full orthogonal mixing
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, idct

from shared.diffusion.keying import GROUP, KeyStream, Mixing, MixingPlan
from shared.diffusion.model import DiffusionModel

Array = NDArray[np.float64]
Mix = Callable[[DiffusionModel, Array, bytes, int], tuple[Array, bytes]]
Unmix = Callable[[DiffusionModel, Array, bytes, bytes, int], Array]


@dataclass(frozen=True)
class Scheme:
    """A scheme with its default solver and steps.

    `mix(model, noise, key, version)` -> mixed noise and public side bytes; `unmix(model, noise, key, side, version)` ->
    noise. Noise is float64 (C, h, w), standard normal in the ideal case; `version` is the recipe's.
    """

    mix: Mix
    unmix: Unmix
    keyed: bool = True
    lengths: bool = False
    paper_spacing: bool = False
    sealed: bool = False
    solver: str = "adams-whitened"
    steps: int = 10

    def side_bytes(self, model: DiffusionModel) -> int:
        return int(np.prod(model.latent_shape)) // GROUP if self.lengths else 0


def plan_of(model: DiffusionModel) -> MixingPlan:
    e = model.extras
    return MixingPlan.of(
        model.latent_shape,
        face_order=e.face_order,
        stego_order=e.stego_order,
        radius_mean=e.radius_mean,
        radius_deviation=e.radius_deviation,
    )


def _nothing(model: DiffusionModel, noise: Array, key: bytes, version: int) -> tuple[Array, bytes]:
    return noise, b""


def _nothing_back(model: DiffusionModel, noise: Array, key: bytes, side: bytes, version: int) -> Array:
    return noise


def _groups(model: DiffusionModel, noise: Array, key: bytes, version: int) -> tuple[Array, bytes]:
    return Mixing(plan_of(model), key, version).hide(noise)


def _groups_back(model: DiffusionModel, noise: Array, key: bytes, side: bytes, version: int) -> Array:
    return Mixing(plan_of(model), key, version).recover(noise, side)


def _signs(share: float) -> tuple[Mix, Unmix]:
    def flips(noise: Array, key: bytes, version: int) -> Array:
        return np.where(KeyStream(key, "signs", version).uniform(noise.size) < share, -1.0, 1.0).reshape(noise.shape)

    return (
        lambda model, noise, key, version: (noise * flips(noise, key, version), b""),
        lambda model, noise, key, side, version: noise * flips(noise, key, version),
    )


def _rounds(key: bytes, count: int, version: int) -> list[tuple[Array, NDArray[np.intp]]]:
    stream = KeyStream(key, "rotation", version)
    return [(np.where(stream.uniform(count) < 0.5, -1.0, 1.0), stream.permutation(count)) for _ in range(3)]


def _rotate(model: DiffusionModel, noise: Array, key: bytes, version: int) -> tuple[Array, bytes]:
    x = noise.ravel()
    for signs, order in _rounds(key, x.size, version):
        x = dct(x * signs, norm="ortho")[order]
    return x.reshape(noise.shape), b""


def _rotate_back(model: DiffusionModel, noise: Array, key: bytes, side: bytes, version: int) -> Array:
    x = noise.ravel()
    for signs, order in reversed(_rounds(key, x.size, version)):
        scattered = np.empty_like(x)
        scattered[order] = x
        x = idct(scattered, norm="ortho") * signs
    return x.reshape(noise.shape)


SCHEMES = {
    "sealed": Scheme(_nothing, _nothing_back, sealed=True),
    "keyed": Scheme(_groups, _groups_back, lengths=True),
    "paper": Scheme(_nothing, _nothing_back, keyed=False, paper_spacing=True, solver="ddim", steps=60),
    "matched": Scheme(_nothing, _nothing_back, keyed=False),
    "signs": Scheme(*_signs(0.5)),
    "signs5": Scheme(*_signs(0.05)),
    "rotation": Scheme(_rotate, _rotate_back),
}
