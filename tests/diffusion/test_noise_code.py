import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.stats import kstest

from shared.diffusion import noise_code
from shared.diffusion.keying import from_coordinates, to_coordinates
from shared.diffusion.noise_code import (
    LEVELS,
    NoiseCode,
    Rate,
    allotment,
    capacities,
    masked,
    profile_of,
)
from shared.errors import InputError, ModelError

VECTORS = json.loads((Path(__file__).parent / "vectors" / "noise_code.json").read_text())
SHAPE, COUNT = (40, 16, 16), 10_240
ORDER = np.random.default_rng(5).permutation(COUNT)
KEY = bytes(range(32))
# Noise along the order as channels from the mildest to the worst leave it, decibels.
CURVES = {
    "lossless": np.linspace(-36, -18, 40),
    "mild": np.linspace(-25, -2, 40),
    "middle": np.linspace(-16, 10, 40),
    "strong": np.linspace(-8, 18, 40),
    "worst": np.linspace(1, 18, 40),
}
SMALL = NoiseCode((4, 16, 16), np.arange(1024), Rate((-30, -20, -10, -5), 70))


def awgn(
    noise: NDArray[np.float64],
    order: NDArray[np.int64],
    profile: Sequence[float] | NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """A channel to try codes on: normal noise of a profile (decibels, as of `profile_of`) added to (C, h, w)."""
    steps = np.asarray(profile, np.float64)
    deviation = np.repeat(10 ** (steps / 20), np.diff(noise_code._bounds(len(order), len(steps))))
    added = np.empty(len(order))
    added[order] = deviation * rng.standard_normal(len(order))
    return noise + from_coordinates(added, noise.shape)


def gaussian_capacity(profile: Sequence[float] | NDArray[np.float64], coordinates: int) -> float:
    """Shannon's bound on the bits that so many coordinates carry under a profile of noise (decibels)."""
    ratio = 10 ** (np.asarray(profile, np.float64) / 10)
    return float(np.diff(noise_code._bounds(coordinates, len(ratio))) @ np.log2(1 + 1 / ratio) / 2)


def code_of(curve: str, share: int = 80) -> NoiseCode:
    return NoiseCode(SHAPE, ORDER, Rate.fitted(CURVES[curve], share))


def payload_of(code: NoiseCode, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(code.payload_bytes)


@pytest.mark.parametrize("vector", VECTORS["rates"], ids=lambda v: f"{v['share']} % of {v['coordinates']}")
def test_lengths_are_those_of_the_vectors(vector: dict[str, list[int] | int]) -> None:
    rate = Rate(tuple(vector["profile"]), vector["share"])  # type: ignore[arg-type]
    found = allotment(rate, int(vector["coordinates"]))  # type: ignore[arg-type]
    assert found.bits == vector["bits"]
    assert found.depths.tolist() == vector["depths"]


@pytest.mark.parametrize("vector", VECTORS["noises"], ids=lambda v: v["key"][:4])
def test_noise_is_that_of_the_vectors(vector: dict[str, str | list[float]]) -> None:
    payload, key = bytes.fromhex(str(vector["payload"])), bytes.fromhex(str(vector["key"]))
    coordinates = to_coordinates(SMALL.encode(payload, key))
    np.testing.assert_allclose(coordinates[:: 1024 // 16], vector["every_64th"], rtol=0, atol=1e-9)
    assert coordinates.sum() == pytest.approx(vector["sum"], abs=1e-6)


@pytest.mark.parametrize("depth", range(1, LEVELS + 1))
def test_every_index_is_equally_likely_whatever_the_code_bits(depth: int) -> None:
    """Over all values of a word's first eight bits, each choice of code bits gives each of these values once."""
    words = np.arange(256, dtype=np.uint64) << np.uint64(56)
    for choice in range(2**depth):
        bits = np.array([choice >> level & 1 for level in range(LEVELS)], np.uint8)
        out = masked(words, np.full(256, depth), np.repeat(bits[:, None], 256, axis=1))
        assert sorted((out >> np.uint64(56)).tolist()) == list(range(256))


@pytest.mark.parametrize("depth", range(1, LEVELS + 1))
def test_the_code_bits_choose_among_as_many_points_as_they_can(depth: int) -> None:
    points = np.sort(noise_code.quantile(np.uint64(12345 << 40) ^ noise_code._choices(depth)))
    assert np.diff(points).min() > 1e-3
    assert len(points) == 2**depth


@given(
    hnp.arrays(np.uint64, 20, elements=st.integers(0, 2**64 - 1)),
    hnp.arrays(np.int64, 20, elements=st.integers(0, 5)),
    hnp.arrays(np.uint8, (LEVELS, 20), elements=st.integers(0, 1)),
)
def test_masking_is_undone_by_itself(
    words: NDArray[np.uint64], depths: NDArray[np.int64], bits: NDArray[np.uint8]
) -> None:
    assert np.array_equal(masked(masked(words, depths, bits), depths, bits), words)


@pytest.mark.parametrize("same_payload", [True, False])
def test_a_thousand_noises_are_standard_normal(same_payload: bool) -> None:
    """The thresholds are those of 1 in 10,000 or rarer for true normal numbers; keys and payloads are fixed."""
    code = code_of("middle")
    payloads = (bytes(code.payload_bytes) if same_payload else payload_of(code, i) for i in range(1000))
    noises = np.stack([to_coordinates(code.encode(p, i.to_bytes(32, "big")))[ORDER] for i, p in enumerate(payloads)])
    assert abs(noises.mean()) < 4 / noises.size**0.5
    squares = noises * noises
    assert abs(squares.mean() - 1) < 4 * (2 / noises.size) ** 0.5
    assert abs(np.vdot(squares, squares) / noises.size - 3) < 4 * (96 / noises.size) ** 0.5
    assert np.abs(noises.mean(0)).max() < 5.5 / 1000**0.5  # each coordinate
    assert np.abs(squares.mean(0) - 1).max() < 7 * (2 / 1000) ** 0.5
    groups = noises.reshape(1000, 40, 256)
    assert min(kstest(groups[:, i].ravel()[::8], "norm").pvalue for i in range(40)) > 1e-4 / 40
    some = np.corrcoef(noises[:, ::32].T) - np.eye(320)
    assert np.abs(some).max() < 5.7 / 1000**0.5
    neighbours = (noises[:, 1:] * noises[:, :-1]).mean()
    assert abs(neighbours) < 4 / noises.size**0.5
    repeats = (noises[1:] * noises[:-1]).mean()  # the same coordinate in two stegos
    assert abs(repeats) < 4 / noises.size**0.5


def test_two_payloads_of_one_key_differ_in_signs_alone_where_one_level_is_used() -> None:
    code = NoiseCode(SHAPE, ORDER, Rate((16,) * 40, 80))  # 8 dB more noise than signal
    assert set(allotment(code.rate, COUNT).depths) == {1}
    a, b = (to_coordinates(code.encode(payload_of(code, seed), KEY)) for seed in (1, 2))
    np.testing.assert_allclose(np.abs(a), np.abs(b), atol=1e-9)
    assert 0.4 < (np.sign(a) != np.sign(b)).mean() < 0.5  # the pilots agree


@pytest.mark.parametrize(
    ("curve", "of_shannon"), [("lossless", 0.64), ("mild", 0.66), ("middle", 0.6), ("strong", 0.5), ("worst", 0.4)]
)
def test_the_code_reaches_its_share_of_capacity(curve: str, of_shannon: float) -> None:
    """Of the Gaussian bound over all coordinates, pilots and what short codes lose included; three stegos of three."""
    code = code_of(curve)
    assert 8 * code.payload_bytes > of_shannon * gaussian_capacity(CURVES[curve], COUNT)
    for seed in range(3):
        payload, key = payload_of(code, seed), bytes([seed]) * 32
        read_back = awgn(code.encode(payload, key), ORDER, CURVES[curve], np.random.default_rng(seed))
        found = code.decode(read_back, key)
        assert found.held
        assert found.payload == payload


def test_the_channel_is_estimated() -> None:
    code = code_of("middle", 60)
    read_back = awgn(0.8 * code.encode(payload_of(code, 0), KEY), ORDER, CURVES["middle"], np.random.default_rng(0))
    found = code.decode(read_back, KEY)
    assert found.payload == payload_of(code, 0)
    assert found.gain[:20] == pytest.approx(0.8, abs=0.15)
    inner = slice(4, -4)
    wrong = 10 * np.log10(found.noise[inner]) - CURVES["middle"][inner]
    assert np.abs(wrong).max() < 2.5


def test_known_extra_noise_is_weighed() -> None:
    """A tenth of the coordinates is lost: told of it the receiver reads the payload, else he does not."""
    code = code_of("middle", 62)
    rng, lost = np.random.default_rng(3), np.zeros(COUNT, bool)
    lost[rng.permutation(COUNT)[: COUNT // 10]] = True
    coordinates = to_coordinates(awgn(code.encode(payload_of(code, 0), KEY), ORDER, CURVES["middle"], rng))
    coordinates[lost] = 10 * rng.standard_normal(lost.sum())
    read_back = from_coordinates(coordinates, SHAPE)
    assert code.decode(read_back, KEY, np.where(lost, np.inf, 0.0)).payload == payload_of(code, 0)
    assert code.decode(read_back, KEY, np.where(lost, 100.0, 0.0)).payload == payload_of(code, 0)
    assert code.decode(read_back, KEY).payload != payload_of(code, 0)


@settings(max_examples=30)
@given(
    st.lists(st.integers(-60, 0), min_size=1, max_size=8),
    st.integers(40, 75),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**32),
)
def test_round_trip(profile: list[int], share: int, key: bytes, seed: int) -> None:
    rate = Rate(tuple(sorted(profile)), share)
    if not rate.payload_bytes(1024):
        return
    code = NoiseCode((4, 16, 16), np.random.default_rng(seed).permutation(1024), rate)
    found = code.decode(code.encode(payload_of(code, seed), key), key)
    assert found.held
    assert found.payload == payload_of(code, seed)


@settings(max_examples=30)
@given(
    st.binary(min_size=32, max_size=32),
    hnp.arrays(np.float64, SMALL.shape, elements=st.floats(-1e9, 1e9), fill=st.floats(-4, 4)),
)
def test_a_wrong_key_or_any_noise_gives_bytes_and_no_error(key: bytes, noise: NDArray[np.float64]) -> None:
    found = SMALL.decode(noise, key)
    assert len(found.payload) == SMALL.payload_bytes
    assert np.isfinite(found.noise).all()


def test_a_wrong_key_reads_nothing() -> None:
    code = code_of("middle")
    found = code.decode(code.encode(payload_of(code, 0), KEY), bytes(32))
    assert not found.held
    wrong = np.unpackbits(np.frombuffer(found.payload, np.uint8)) != np.unpackbits(
        np.frombuffer(payload_of(code, 0), np.uint8)
    )
    assert 0.45 < wrong.mean() < 0.55


def test_a_profile_is_measured_back() -> None:
    noises = np.random.default_rng(0).standard_normal((8, *SHAPE))
    read_back = np.stack([awgn(z, ORDER, CURVES["middle"], np.random.default_rng(i)) for i, z in enumerate(noises)])
    assert profile_of(noises, 0.7 * read_back, ORDER) == pytest.approx(CURVES["middle"], abs=1.8)
    assert profile_of(noises, noises, ORDER) == pytest.approx(-40)  # no noise at all: the quietest step


def test_a_louder_profile_and_a_smaller_share_carry_less() -> None:
    sizes = [Rate.fitted(CURVES["middle"], 80, margin).payload_bytes(COUNT) for margin in np.arange(0, 12, 0.5)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    shares = [Rate.fitted(CURVES["middle"], share).payload_bytes(COUNT) for share in range(40, 100, 2)]
    assert shares == sorted(shares)


@pytest.mark.parametrize("step", range(noise_code.QUIETEST, noise_code.LOUDEST + 1, 26))
def test_the_table_of_capacities_is_what_the_integral_gives(step: int) -> None:
    for depth in range(1, LEVELS + 1):
        row = noise_code._capacities()[step - noise_code.QUIETEST, depth - 1]
        np.testing.assert_allclose(row[:depth] / 1e4, capacities(10 ** (step / 20), depth), atol=6e-5)
        assert not row[depth:].any()


def test_what_cannot_be_used_is_refused() -> None:
    noise = SMALL.encode(bytes(SMALL.payload_bytes), KEY)
    with pytest.raises(InputError, match="carries"):
        SMALL.encode(bytes(SMALL.payload_bytes + 1), KEY)
    with pytest.raises(InputError, match="32 bytes"):
        SMALL.encode(bytes(SMALL.payload_bytes), KEY[:31])
    with pytest.raises(InputError, match="32 bytes"):
        SMALL.decode(noise, KEY + b"x")
    with pytest.raises(InputError, match="finite"):
        SMALL.decode(np.where(noise > 3, np.nan, noise), KEY)
    with pytest.raises(InputError, match="shape"):
        SMALL.decode(noise[:2], KEY)
    with pytest.raises(InputError, match="extra"):
        SMALL.decode(noise, KEY, -np.ones(1024))
    with pytest.raises(InputError, match="extra"):
        SMALL.decode(noise, KEY, np.full(1024, np.nan))


@pytest.mark.parametrize(("profile", "share"), [((), 80), ((51,), 80), ((-81,), 80), ((0,), 0), ((0,), 101)])
def test_an_impossible_rate_is_refused(profile: tuple[int, ...], share: int) -> None:
    with pytest.raises(ModelError):
        Rate(profile, share)


def test_a_code_that_carries_nothing_or_has_no_order_is_refused() -> None:
    with pytest.raises(ModelError, match="nothing"):
        NoiseCode(SHAPE, ORDER, Rate((50,), 50))
    with pytest.raises(ModelError, match="permutation"):
        NoiseCode(SHAPE, np.zeros(COUNT, np.intp), Rate((0,), 50))
