"""Bits <-> noise that is exactly standard normal: the noise code of the scheme `sealed`.

    bytes --LDPC, one code a level--> code bits --XOR into 64-bit words of the key stream--> z = Phi^-1(word / 2^64)

**Exactly normal.** Each coordinate takes a word of the key stream; a code bit of level l that is 1 XORs a fixed mask
onto it. XOR with anything is a bijection of words, so for a true random stream every z is standard normal, independent
of the others and of the bytes, whatever they are. Levels and masks are public, so the receiver, who has the stream,
knows the 2^m points among which z is: quantiles, dithered by the bits of the word that no mask touches alone.

**Constellations.** m = 1 .. 5 levels, by how much noise a coordinate is thought to have. m = 1 is +-|z| with |z| known,
m = 2 the same within each half; from m = 3 on the points are (j + u) / 2^m, level l being the l-th bit of the word. In
much noise the mirrored points carry up to 1.4 times the bits of the shifted ones, in little noise the shifted more.

**Levels.** I(y; b_1 .. b_m) = sum of I(y; b_l | b_1 .. b_(l-1)): one code a level, decoded from the sign down, each
given the ones above (multilevel codes; Imai and Hirakawa, 1977). Gray labels would differ from natural ones by an XOR
with bits already decoded, that is, in nothing. Short codes fall short of capacity by the root of their length, so a
rate opens only as many levels as pay for it.

**Pilots.** A sixteenth of the coordinates, drawn by the key, carries no bits. From them the receiver estimates gain and
noise along the order of reliability, stego by stego: no channel has to be told to it.

Which coordinates a channel damages least is measured and public (`Extras.stego_order`); a `Rate` says what noise it
assumes along that order. Inside a level the key draws which coordinate takes which bit of the code word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import isqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from shared.diffusion.keying import KeyStream, from_coordinates, to_coordinates
from shared.diffusion.ldpc5g import Code
from shared.errors import InputError, ModelError

Array = NDArray[np.float64]
Words = NDArray[np.uint64]
Indices = NDArray[np.intp]

LEVELS = 5
STRETCH = 256  # coordinates for which one figure of noise is assumed
PILOT_SHARE = 16  # one coordinate in so many is a pilot
REACH = 3  # stretches to each side whose pilots help to estimate one
KEY_BYTES = 32
QUIETEST, LOUDEST = -80, 50  # noise to signal of a profile, in half decibels
_CAPACITIES = Path(__file__).parent / "noise_code.csv"
_LEVEL_COST = 200  # 1e-4 bit; a level that adds less to a coordinate is left to the dither
_DISPERSION = 12  # 3.5^2: a code over C bits of capacity falls short of its share by 3.5 sqrt(C) bits
_SHORTEST = 64  # information bits of a level
_HIGHEST = 95  # percent: rate of a code
_LEAST_NOISE = 1e-6
_TINY = 1e-300
_ALL = 2**64 - 1
# MASKS[m - 1][l - 1]: what a 1 of level l XORs onto the word of a coordinate with m levels.
MASKS = [[_ALL >> level if m <= 2 else 1 << (63 - level) for level in range(m)] for m in range(1, LEVELS + 1)]
_USED = np.tri(LEVELS, dtype=np.int64)  # (depth - 1, level): 1 where the depth has the level


@dataclass(frozen=True)
class Rate:
    """How many bits a stego carries, and where.

    Attributes:
        profile: noise variance over signal variance, in half decibels, QUIETEST..LOUDEST, of the stretches of equal
            length into which the coordinates are cut, the most reliable first.
        share: percent of the capacity under that noise that the codes take, 1..100.

    Raises:
        ModelError: a figure out of range.
    """

    profile: tuple[int, ...]
    share: int

    def __post_init__(self) -> None:
        if not self.profile or not all(QUIETEST <= step <= LOUDEST for step in self.profile):
            raise ModelError(f"a rate's profile has steps from {QUIETEST} to {LOUDEST}, and at least one")
        if not 1 <= self.share <= 100:
            raise ModelError("a rate's share lies between 1 and 100")

    @classmethod
    def fitted(cls, profile: Sequence[float] | Array, share: int, margin: float = 0.0) -> "Rate":
        """The rate for measured noise, in decibels (`profile_of`), taken `margin` decibels louder."""
        steps = np.clip(np.round(2 * (np.asarray(profile, np.float64) + margin)), QUIETEST, LOUDEST)
        return cls(tuple(int(step) for step in steps), share)

    def payload_bytes(self, coordinates: int) -> int:
        """What `NoiseCode.encode` takes for a latent of so many numbers."""
        return sum(allotment(self, coordinates).bits) // 8


@dataclass(frozen=True)
class Allotment:
    """What a rate means for a number of coordinates.

    Attributes:
        depths: (stretches,), levels of the coordinates of each stretch, 0..LEVELS.
        bits: (LEVELS,), information bits of each level: multiples of 8, or 0.
    """

    depths: NDArray[np.int64]
    bits: list[int]


@lru_cache(maxsize=256)
def allotment(rate: Rate, coordinates: int) -> Allotment:
    """The levels that carry most, each code shortened by what its length costs.

    Whole numbers throughout, so that every machine finds the same.
    """
    found = [_allotment(rate, coordinates, deepest) for deepest in range(1, LEVELS + 1)]
    return max(found, key=lambda a: sum(a.bits))  # the shallowest of the best


def _allotment(rate: Rate, coordinates: int, deepest: int) -> Allotment:
    capacity = _capacities()[np.array(rate.profile) - QUIETEST, :deepest]  # (stretches, depths, levels)
    worth = (capacity - _LEVEL_COST * _USED[:deepest]).sum(2)
    depths = np.pad(worth, ((0, 0), (1, 0))).argmax(1)
    data = np.diff(_bounds(coordinates, len(depths)))
    data -= data // PILOT_SHARE
    of_depth = np.pad(capacity, ((0, 0), (1, 0), (0, 0)))[np.arange(len(depths)), depths]
    places = (data[:, None] * (np.arange(LEVELS) < depths[:, None])).sum(0).tolist()
    carried = (data[:, None] * of_depth).sum(0).tolist()
    return Allotment(depths, [_information_bits(c, n, rate.share) for c, n in zip(carried, places, strict=True)])


def _information_bits(capacity: int, places: int, share: int) -> int:
    """Of a level that carries `capacity` 1e-4 bits over so many places."""
    hundredths = capacity * share // 10_000
    bits = (hundredths - isqrt(capacity * _DISPERSION)) // 800 * 8
    return min(bits, places * _HIGHEST // 800 * 8) if bits >= _SHORTEST else 0


@dataclass(frozen=True)
class Decoded:
    """What was read out of a noise.

    Attributes:
        payload: as many bytes as the rate carries; only authentication says whether they are right.
        held: every parity check of every level held. If not, the bytes are wrong, those of later levels zeros.
        gain, noise: (stretches,) of the channel: read-back = gain z + normal noise of the variance `noise`.
    """

    payload: bytes
    held: bool
    gain: Array
    noise: Array


@dataclass(frozen=True)
class NoiseCode:
    """The noise code of one model and rate. Public; the key comes with each call.

    Attributes:
        shape: (C, h, w) of a latent, N numbers.
        order: a permutation of the N coordinates of `to_coordinates`, most reliable first.
        rate: what it carries.

    Raises:
        ModelError: the order is no permutation of the coordinates, or the rate carries no byte of them.
    """

    shape: tuple[int, int, int]
    order: Indices
    rate: Rate

    def __post_init__(self) -> None:
        if not np.array_equal(np.sort(self.order), np.arange(int(np.prod(self.shape)))):
            raise ModelError("the order is no permutation of the latent's coordinates")
        if not self.payload_bytes:
            raise ModelError("the rate carries nothing")

    @cached_property
    def payload_bytes(self) -> int:
        return self.rate.payload_bytes(len(self.order))

    def encode(self, payload: bytes, key: bytes) -> Array:
        """`payload_bytes` bytes -> standard normal noise, float64 (C, h, w).

        Args:
            key: 32 bytes, for one payload only: two noises of one key would show the XOR of their code words.

        Raises:
            InputError: a payload or key of another length.
        """
        if len(payload) != self.payload_bytes:
            raise InputError(f"the rate carries {self.payload_bytes} bytes, not {len(payload)}")
        layout = _Layout(self.rate, len(self.order), key)
        words = masked(layout.words, layout.depths, self._code_bits(payload, layout))
        coordinates = np.empty(len(self.order))
        coordinates[self.order] = quantile(words)
        return from_coordinates(coordinates, self.shape)

    def _code_bits(self, payload: bytes, layout: "_Layout") -> NDArray[np.uint8]:
        """(LEVELS, N), along the order; 0 where a level carries nothing."""
        bits, at = np.unpackbits(np.frombuffer(payload, np.uint8)), 0
        sent = np.zeros((LEVELS, len(self.order)), np.uint8)
        for row, k, places in zip(sent, layout.bits, layout.places, strict=True):
            if k:
                row[places] = Code(k, len(places)).encode(bits[at : at + k])
            at += k
        return sent

    def decode(self, noise: Array, key: bytes, extra: Array | None = None) -> Decoded:
        """Read-back noise -> bytes, wrong ones if key or noise are.

        Args:
            noise: float64 (C, h, w), all finite.
            key: 32 bytes.
            extra: (N,), noise variance that each coordinate is known to have beyond its neighbours', in the units of
                the noise, 0 or more; infinite: nothing is known of it.

        Raises:
            InputError: noise, key or extra variance that cannot be used.
        """
        y, extra = self._checked(noise, extra)
        layout = _Layout(self.rate, len(self.order), key)
        gain, variance = _channel(y, extra, layout)
        stretch = layout.stretch
        posterior = _Posterior(y, gain[stretch], variance[stretch] + extra, layout)
        bits, held = [], True
        for level, (k, places) in enumerate(zip(layout.bits, layout.places, strict=True)):
            found, sent = np.zeros(k, np.uint8), np.zeros(len(self.order), np.uint8)
            if k and held:
                found, sent[places], held = Code(k, len(places)).decode(posterior.llr(level)[places])
            posterior.settle(level, sent)
            bits.append(found)
        return Decoded(np.packbits(np.concatenate(bits)).tobytes(), held, gain, variance)

    def _checked(self, noise: Array, extra: Array | None) -> tuple[Array, Array]:
        """Both along the order."""
        if noise.shape != self.shape or not np.isfinite(noise).all():
            raise InputError("the noise has another shape than the latent, or is not finite")
        extra = np.zeros(len(self.order)) if extra is None else extra
        if extra.shape != self.order.shape or not (extra >= 0).all():
            raise InputError("extra noise is 0 or more, one number a coordinate")
        return to_coordinates(noise)[self.order], extra[self.order]


def masked(words: Words, depths: NDArray[np.int64], code_bits: NDArray[np.uint8]) -> Words:
    """The words of coordinates with their code bits in them; undone by the same call.

    Args:
        words: uint64 (N,).
        depths: (N,), levels of each coordinate, 0..LEVELS.
        code_bits: 0 or 1, (LEVELS, N).
    """
    masks = np.array([[0] * LEVELS, *(row + [0] * (LEVELS - len(row)) for row in MASKS)], np.uint64)
    onto = masks[depths].T * code_bits
    changed: Words = words ^ np.bitwise_xor.reduce(onto, axis=0)
    return changed


def quantile(words: Words) -> Array:
    """Phi^-1 of uint64 words as parts of 2^64, on the middles of 2^53 equal parts as `KeyStream.uniform`."""
    numbers: Array = ndtri(((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)
    return numbers


class _Layout:
    """What the key draws: words, pilots, and which coordinate takes which bit. All along the order.

    Attributes:
        words: uint64 (N,). stretch: (N,), of each coordinate. depths: (N,), levels; 0 for pilots.
        pilots: their places. places: of each level, the places of its code bits. bits: information bits of each level.
        assumed: (stretches,), noise to signal.
    """

    def __init__(self, rate: Rate, count: int, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise InputError(f"a key of the noise code has {KEY_BYTES} bytes")
        allotted = allotment(rate, count)
        self.words: Words = np.frombuffer(KeyStream(key, "noise words").bytes(8 * count), "<u8")
        drawn = KeyStream(key, "noise places").permutation(count)
        bounds = _bounds(count, len(rate.profile))
        self.stretch = np.repeat(np.arange(len(rate.profile)), np.diff(bounds))
        by_stretch = drawn[np.argsort(self.stretch[drawn], kind="stable")]
        parts = np.split(by_stretch, bounds[1:-1])
        self.pilots = np.concatenate([part[: len(part) // PILOT_SHARE] for part in parts])
        self.depths = allotted.depths[self.stretch]
        self.depths[self.pilots] = 0
        self.places = [drawn[self.depths[drawn] > level] for level in range(LEVELS)]
        self.bits = allotted.bits
        self.assumed = 10 ** (np.array(rate.profile) / 20)


class _Posterior:
    """Likelihoods of the points that each coordinate may still be, given what was read and the levels settled."""

    def __init__(self, y: Array, gain: Array, variance: Array, layout: _Layout) -> None:
        self._count, self._groups = len(y), []
        for depth in range(1, LEVELS + 1):
            at = np.flatnonzero(layout.depths == depth)
            points = quantile(layout.words[at, None] ^ _choices(depth))
            error = (y[at, None] - gain[at, None] * points) ** 2 / (-2 * variance[at, None])
            self._groups.append((at, np.exp(error - error.max(1, keepdims=True))))

    def llr(self, level: int) -> Array:
        """(N,), log P(0) / P(1) of a level's bits; 0 where it has none."""
        llr = np.zeros(self._count)
        for at, likelihood in self._groups[level:]:
            zero, one = np.moveaxis(likelihood.reshape(len(at), 2, likelihood.shape[1] // 2).sum(2), 1, 0)
            llr[at] = np.log((zero + _TINY) / (one + _TINY))
        return llr

    def settle(self, level: int, bits: NDArray[np.uint8]) -> None:
        """Leave only the points that have these bits, (N,), in this level."""
        for i, (at, likelihood) in enumerate(self._groups[level:], level):
            halves = likelihood.reshape(len(at), 2, likelihood.shape[1] // 2)
            self._groups[i] = (at, halves[np.arange(len(at)), bits[at]])


@lru_cache
def _choices(depth: int) -> Words:
    """uint64 (2^depth,): what each choice of code bits, the first level's in front, XORs onto a word."""
    shifts = np.maximum(depth - 1 - np.arange(LEVELS), 0)[:, None]
    code_bits = (np.arange(2**depth) >> shifts & 1).astype(np.uint8)
    return masked(np.zeros(2**depth, np.uint64), np.full(2**depth, depth), code_bits)


def _channel(y: Array, extra: Array, layout: _Layout) -> tuple[Array, Array]:
    """Gain and noise variance of each stretch, from the pilots in it and in up to REACH stretches to each side."""
    p, count = layout.pilots, layout.stretch[-1] + 1
    known = np.isfinite(extra[p])
    z, stretch = quantile(layout.words[p]), layout.stretch[p]
    weight, extra = (1 + extra[p] / layout.assumed[stretch]) ** -2, np.where(known, extra[p], 0)
    near = np.maximum(REACH + 1 - np.abs(np.subtract.outer(np.arange(count), np.arange(count))), 0)

    def around(values: Array) -> Array:
        sums: Array = near @ np.bincount(stretch, weight * values, count)
        return sums

    gain = (np.maximum(around(z * y[p]), 0) + _TINY) / (around(z * z) + _TINY)
    error = (y[p] - gain[stretch] * z) ** 2 - extra
    return gain, np.maximum(around(error) / np.maximum(around(np.ones(len(p))), _TINY), _LEAST_NOISE)


def _bounds(count: int, stretches: int) -> NDArray[np.int64]:
    """Where stretches of about equal length begin, and the end."""
    return np.arange(stretches + 1) * count // stretches


@lru_cache
def _capacities() -> NDArray[np.int64]:
    """(noise steps, depths, levels) in 1e-4 bit: see `capacities`."""
    table: NDArray[np.int64] = np.loadtxt(_CAPACITIES, delimiter=",", dtype=np.int64)
    return table.reshape(-1, LEVELS, LEVELS)


def capacities(noise_to_signal: float, depth: int, dithers: int = 64, nodes: int = 64) -> Array:
    """What the levels of a coordinate carry, bits (depth,), each given the ones above, the dither known.

    By Gauss-Hermite quadrature over the noise and the middles of equal parts over the dither. `noise_code.csv` holds
    it, rounded, for all noises and depths, so that no length ever depends on the last bit of a float.
    """
    free = (np.arange(dithers) + 0.5) / dithers
    dither = (free * 2.0 ** (64 - depth)).astype(np.uint64)
    points = quantile(dither[:, None] ^ _choices(depth))
    error, weight = np.polynomial.hermite_e.hermegauss(nodes)
    y = points[:, :, None] + noise_to_signal**0.5 * error
    likelihood = np.exp((y[..., None] - points[:, None, None]) ** 2 / (-2 * noise_to_signal))
    own = np.arange(2**depth)[None, :, None, None]
    above, out = likelihood.sum(-1), []
    for level in range(1, depth + 1):
        blocks = likelihood.reshape(*y.shape, 2**level, -1).sum(-1)
        here = np.take_along_axis(blocks, own >> (depth - level), -1)[..., 0]
        out.append(1 + (np.log2(here / above).mean((0, 1)) * weight).sum() / weight.sum())
        above = here
    return np.array(out)


def profile_of(noise: Array, read_back: Array, order: Indices, stretches: int | None = None) -> Array:
    """The noise that a channel leaves along an order: noise over signal variance of each stretch, decibels.

    Args:
        noise, read_back: float64 (..., C, h, w), what was sent and what was read; sums over several stegos are pooled.
        order: (N,), as of `NoiseCode`.
        stretches: N / STRETCH by default.
    """
    count = len(order)
    stretches = stretches or max(1, count // STRETCH)
    z, y = (np.stack([to_coordinates(a)[order] for a in x.reshape(-1, *x.shape[-3:])]) for x in (noise, read_back))
    starts = _bounds(count, stretches)[:-1]
    zz, zy, yy = (np.add.reduceat(product.sum(0), starts) for product in (z * z, z * y, y * y))
    explained = np.maximum(np.maximum(zy, 0) ** 2 / zz, _LEAST_NOISE**2 * yy)
    decibels: Array = 10 * np.log10(np.maximum(yy - explained, _TINY) / explained)
    return np.clip(decibels, QUIETEST / 2, LOUDEST / 2)
