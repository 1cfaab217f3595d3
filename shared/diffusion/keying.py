"""Identity prompt -> key -> mixing of the latent noise z_T.

    prompt, nonce --Argon2id--> 32 bytes --HKDF-SHA256--> ChaCha20 key --> one stream of bytes

The mixing takes z_T of the face to z'_T of the stego and back. The coordinates of z_T (2-D DCT of each channel) are
dealt into groups of GROUP. In each group

* the direction is rotated by a Haar-random orthogonal matrix from the stream: whatever the face, the result is uniform
  on the sphere;
* the length r is taken off and replaced by a fresh one from the stream, chi-distributed. One byte, the quantile of
  log r^2, masked with the stream, goes into the recipe.

So z'_T is standard normal and independent of the face (given a true random stream), which no orthogonal map alone
achieves: it would leave the lengths, by which a known photograph can be linked to its stego. It is also why a stego is
distributed exactly as any other sample of the disguise prompt.

Which coordinates make a group decides what channel noise does: a rotation spreads the noise of a coordinate over its
group. So the coordinates of the stego that a channel damages least carry the coordinates of the face that matter most
(`Extras.stego_order`, `face_order`; measured in training). Without such a measurement both go by frequency.

All of it runs in float64 on the CPU; the same key gives the same maps on every machine to rounding error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray
from scipy.fft import dctn, idctn
from scipy.special import ndtr, ndtri
from scipy.stats import chi2

from shared.prompts import canonical_prompt
from shared.recipe import VERSION

Array = NDArray[np.float64]

GROUP = 64
_TINY = 1e-150
# RFC 9106, section 4, second recommended option: 64 MiB, three passes, four lanes.
ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES = 65536, 3, 4


def stretch(prompt: str, nonce: bytes, version: int = VERSION) -> bytes:
    """The 32-byte key of one hiding: Argon2id over the prompt's canonical form, salted with the nonce (16 bytes).

    `version`: of the recipe, which says what the canonical form is.
    """
    return hash_secret_raw(
        canonical_prompt(prompt, version),
        nonce,
        time_cost=ARGON2_PASSES,
        memory_cost=ARGON2_MEMORY_KIB,
        parallelism=ARGON2_LANES,
        hash_len=32,
        type=Type.ID,
    )


class KeyStream:
    """Pseudo-random numbers of one key, purpose and version of the recipe: ChaCha20 (RFC 8439) over zeros, in order."""

    def __init__(self, key: bytes, purpose: str, version: int = VERSION) -> None:
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"ddsr{version} {purpose}".encode()).derive(key)
        self._cipher = Cipher(algorithms.ChaCha20(derived, bytes(16)), mode=None).encryptor()

    def bytes(self, count: int) -> bytes:
        return self._cipher.update(b"\0" * count)

    def uniform(self, count: int) -> Array:
        """float64 (count,), the middles of 2^53 equal parts of (0, 1); eight bytes each, little-endian."""
        words = np.frombuffer(self.bytes(8 * count), "<u8") >> np.uint64(11)
        return (words.astype(np.float64) + 0.5) * 2.0**-53

    def normal(self, count: int) -> Array:
        """float64 (count,), standard normal, by inversion."""
        numbers: Array = ndtri(self.uniform(count))
        return numbers

    def permutation(self, count: int) -> NDArray[np.intp]:
        return np.argsort(self.uniform(count), kind="stable")


class HaarRotations:
    """Haar-distributed orthogonal maps of R^size, never written out as matrices (Stewart, 1980, section 3).

    Q = A_size ... A_2 A_1, where A_k changes the last k coordinates alone: for normal g in R^k, the reflection between
    g and the first of them, with the sign that makes g / |g| its first column. A vector costs size^2 operations, where
    the QR of a normal matrix (Mezzadri, 2007) costs size^3 before the first one, and twice the numbers of the stream.
    """

    def __init__(self, stream: KeyStream, count: int, size: int) -> None:
        numbers = stream.normal(count * (size * (size + 1) // 2)).reshape(count, -1)
        self._reflections: list[tuple[Array, Array]] = []  # k = size, ..., 1: normals (count, k), signs (count, 1)
        for g in np.split(numbers, np.cumsum(np.arange(size, 1, -1)), axis=1):
            sign = np.copysign(1.0, g[:, :1])
            g[:, :1] += sign * np.linalg.norm(g, axis=1, keepdims=True)  # now the mirror's normal; nothing cancels
            self._reflections.append((g * (2**0.5 / np.linalg.norm(g, axis=1, keepdims=True)), sign))

    def apply(self, x: Array) -> Array:
        """Q x of each map, float64 (count, size)."""
        return self._through(x, self._reflections[::-1])

    def undo(self, x: Array) -> Array:
        """Q^T x: every A_k is its own inverse."""
        return self._through(x, self._reflections)

    @staticmethod
    def _through(x: Array, reflections: Sequence[tuple[Array, Array]]) -> Array:
        x = x.copy()
        for normal, sign in reflections:
            part = x[:, -normal.shape[1] :]
            part[:] = sign * (normal * np.einsum("gi,gi->g", normal, part)[:, None] - part)
        return x


@dataclass(frozen=True)
class MixingPlan:
    """The public part of the mixing of one model; no secrets.

    Attributes:
        shape: (C, h, w) of a latent; C h w is a multiple of GROUP.
        face_order, stego_order: permutations of the C h w coordinates; entry i of one is carried by entry i of
            the other.
        radius_mean, radius_deviation: (C h w / GROUP,), of log r^2 of the face's groups, for the quantile.
    """

    shape: tuple[int, int, int]
    face_order: NDArray[np.intp]
    stego_order: NDArray[np.intp]
    radius_mean: Array
    radius_deviation: Array

    @property
    def groups(self) -> int:
        return len(self.face_order) // GROUP

    @classmethod
    def of(
        cls,
        shape: tuple[int, int, int],
        *,
        face_order: Sequence[int] | None = None,
        stego_order: Sequence[int] | None = None,
        radius_mean: Sequence[float] | None = None,
        radius_deviation: Sequence[float] | None = None,
    ) -> "MixingPlan":
        """The measured plan, or, where nothing was measured, groups of neighbouring frequency, white noise assumed."""
        channels, height, width = shape
        count = channels * height * width
        if count % GROUP:
            raise ValueError(f"a latent of {count} numbers cannot be dealt into groups of {GROUP}")
        radius = np.hypot(*np.meshgrid(np.arange(height), np.arange(width), indexing="ij"))
        by_frequency = np.argsort(np.broadcast_to(radius, shape).ravel(), kind="stable")
        white = np.log(GROUP) - 1 / GROUP
        groups = count // GROUP
        return cls(
            shape,
            by_frequency if face_order is None else np.asarray(face_order, np.intp),
            by_frequency if stego_order is None else np.asarray(stego_order, np.intp),
            np.full(groups, white) if radius_mean is None else np.asarray(radius_mean, np.float64),
            np.full(groups, 2 * (2 / GROUP) ** 0.5) if radius_deviation is None else np.asarray(radius_deviation),
        )


class Mixing:
    """The keyed map between the face's noise and the stego's noise, for one key and version of the recipe."""

    def __init__(self, plan: MixingPlan, key: bytes, version: int = VERSION) -> None:
        stream = KeyStream(key, "mixing", version)
        self.plan = plan
        self.rotations = HaarRotations(stream, plan.groups, GROUP)
        self.radii: Array = np.sqrt(chi2.ppf(stream.uniform(plan.groups), GROUP))
        self.mask = np.frombuffer(stream.bytes(plan.groups), np.uint8)

    def hide(self, noise: Array) -> tuple[Array, bytes]:
        """z_T / sigma_T of the face, float64 (C, h, w) -> that of the stego, and the masked lengths, a byte a group."""
        p = self.plan
        groups = to_coordinates(noise)[p.face_order].reshape(p.groups, GROUP)
        lengths = np.maximum(np.linalg.norm(groups, axis=1), _TINY)  # a group of zeros stays one
        quantile = ndtr((np.log(lengths**2) - p.radius_mean) / p.radius_deviation)
        level = np.clip(np.floor(quantile * 256), 0, 255).astype(np.uint8)
        directions = self.rotations.apply(groups / lengths[:, None])
        mixed = np.empty(p.groups * GROUP)
        mixed[p.stego_order] = (directions * self.radii[:, None]).ravel()
        return from_coordinates(mixed, p.shape), (level ^ self.mask).tobytes()

    def recover(self, noise: Array, lengths: bytes) -> Array:
        """The inverse of `hide`; channel noise changes directions, never lengths."""
        p = self.plan
        groups = to_coordinates(noise)[p.stego_order].reshape(p.groups, GROUP)
        directions = self.rotations.undo(groups / np.linalg.norm(groups, axis=1, keepdims=True))
        level = np.frombuffer(lengths, np.uint8) ^ self.mask
        radius = np.exp((p.radius_mean + p.radius_deviation * ndtri((level + 0.5) / 256)) / 2)
        out = np.empty(p.groups * GROUP)
        out[p.face_order] = (directions * radius[:, None]).ravel()
        return from_coordinates(out, p.shape)


def to_coordinates(noise: Array) -> Array:
    """(C, h, w) -> (C h w,): orthonormal 2-D DCT of each channel."""
    coefficients: Array = dctn(noise, axes=(-2, -1), norm="ortho").reshape(-1)
    return coefficients


def from_coordinates(coefficients: Array, shape: tuple[int, int, int]) -> Array:
    """The inverse of `to_coordinates`."""
    noise: Array = idctn(coefficients.reshape(shape), axes=(-2, -1), norm="ortho")
    return noise
