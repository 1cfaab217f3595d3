"""Codes of faces: budgets, sizes, codes of other versions, and bytes that nobody wrote."""

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from shared.diffusion.codecs import MAX_CODE, SIZES, avif, decode_face, encode_face, learned, squared_error
from shared.errors import BrokenPicture, ChannelTooPoor, InvalidOption
from shared.imaging import fit_square
from tests.diffusion.conftest import PORTRAIT

VECTORS = json.loads((Path(__file__).parent / "vectors" / "codecs.json").read_text())
CODES = [base64.b64decode(vector["code"]) for vector in VECTORS.values()]

Pixels = NDArray[np.uint8]


def psnr(one: Pixels, other: Pixels) -> float:
    return float(10 * np.log10(255**2 * one.size / max(squared_error(one, other), 1)))


@pytest.fixture(scope="module")
def portrait_of() -> dict[int, Pixels]:
    picture = np.asarray(Image.open(PORTRAIT).convert("RGB"))
    return {size: fit_square(picture, size) for size in SIZES}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("budget", [300, 1000, 4000])
def test_a_face_fits_its_budget_and_keeps_its_size(portrait_of: dict[int, Pixels], size: int, budget: int) -> None:
    face = portrait_of[size]
    code = encode_face(face, budget)
    assert budget * 0.8 < len(code) <= budget
    assert decode_face(code).shape == face.shape
    assert psnr(decode_face(code), face) > 20 + 3 * np.log2(budget / 300)


def test_more_bytes_give_a_better_face(portrait_of: dict[int, Pixels]) -> None:
    found = [psnr(decode_face(encode_face(portrait_of[128], n)), portrait_of[128]) for n in (150, 300, 600, 1200, 2400)]
    assert found == sorted(found)
    assert found[-1] > 37


def test_a_large_face_through_png_is_sharp(portrait_of: dict[int, Pixels]) -> None:
    assert psnr(decode_face(encode_face(portrait_of[256], 4000)), portrait_of[256]) > 30


def test_faces_that_no_camera_takes(portrait_of: dict[int, Pixels]) -> None:
    """The extremes of every component: white, black, noise, one bright pixel, stripes."""
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    dot = np.zeros((128, 128, 3), np.uint8)
    dot[64, 64] = 255
    for face in (np.full_like(dot, 255), np.zeros_like(dot), noise, dot, np.where(dot.cumsum(1) % 2, 255, 0)):
        code = encode_face(face.astype(np.uint8), 1100)
        assert len(code) <= 1100
        assert decode_face(code).shape == face.shape


def test_a_budget_of_nothing_is_refused(portrait_of: dict[int, Pixels]) -> None:
    with pytest.raises(ChannelTooPoor, match="smaller face"):
        encode_face(portrait_of[128], 20)


@pytest.mark.parametrize("shape", [(64, 64, 3), (128, 160, 3), (128, 128), (128, 128, 4)])
def test_other_sizes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidOption):
        encode_face(np.zeros(shape, np.uint8), 1000)


@pytest.mark.parametrize("size", SIZES)
def test_the_pinned_encoder_writes_the_container_that_is_rebuilt(portrait_of: dict[int, Pixels], size: int) -> None:
    """When this fails after an upgrade of Pillow, codes are 300 bytes longer until `avif.container` is adapted."""
    code = avif.encode(portrait_of[size], 3000)
    assert code is not None
    assert not code.whole


@pytest.mark.parametrize("name", VECTORS)
def test_codes_of_other_versions_are_read(name: str) -> None:
    """Codes written by this and by other encoders (other chroma, another container) stay readable."""
    vector = VECTORS[name]
    face = decode_face(base64.b64decode(vector["code"]))
    means = face.reshape(4, len(face) // 4, 4, len(face) // 4, 3).mean((1, 3, 4))
    np.testing.assert_allclose(means, vector["means"], atol=1.0)


@pytest.mark.parametrize("name", [name for name in VECTORS if "components" in VECTORS[name]])
def test_the_learned_codec_says_the_same_on_every_machine(name: str) -> None:
    """When this fails after training, the codec needs another number: old codes would give another face."""
    code = base64.b64decode(VECTORS[name]["code"])
    components = learned.read(code[1:], learned.model())
    assert components is not None
    assert hashlib.sha256(components.astype("<i4").tobytes()).hexdigest() == VECTORS[name]["components"]


def test_an_encoder_of_another_version_sends_its_file_whole(
    portrait_of: dict[int, Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = avif._written

    def another(picture: Image.Image, quantiser: int, speed: int) -> bytes:
        return written(picture, quantiser, speed).replace(b"Color\0", b"Other\0")

    monkeypatch.setattr(avif, "_written", another)
    code = encode_face(portrait_of[128], 1500)
    assert b"Other" in code
    assert psnr(decode_face(code), portrait_of[128]) > 30


def test_the_learned_codec_reads_what_it_wrote_to_the_bit(portrait_of: dict[int, Pixels]) -> None:
    net = learned.model()
    for level in range(0, len(net.steps), 7):
        components = learned.analyse(net, portrait_of[128])
        written = learned._walk(net, level, learned._writer(lambda *_: None, net, components, level))
        code = learned._coded(net, components, level)
        face = learned.decode(code)
        assert face is not None
        np.testing.assert_array_equal(face, learned.synthesise(net, written, level))


def test_the_learned_codecs_contexts_are_whole_numbers(portrait_of: dict[int, Pixels]) -> None:
    """What sender and receiver must agree on: every sum is a whole number that float64 holds, in any order."""
    net = learned.model()
    x = np.random.default_rng(0).integers(-(2**14), 2**14, (net.slices[-1] + 2, 8, 8)).astype(np.float64)
    for layers, end in zip(net.contexts, net.slices, strict=True):
        mean, scale = learned._context(layers, x[: end + 2], np.ones((8, 8), bool))
        assert np.array_equal(mean, np.round(mean))
        assert np.array_equal(scale, np.round(scale))
        for matrix, offset in layers:
            assert (np.abs(matrix).sum(0) * learned.MOST + np.abs(offset).max()).max() < 2**53
    assert all(counts.sum() == 65536 and counts.min() >= 1 for counts in net.counts)


@settings(deadline=2000, max_examples=60)
@given(
    st.binary(max_size=80) | st.tuples(st.integers(0, 11), st.binary(max_size=400)).map(lambda x: bytes([x[0]]) + x[1])
)
def test_bytes_that_nobody_wrote_give_a_face_or_one_error(code: bytes) -> None:
    _face_or_refusal(code)


@settings(deadline=2000, max_examples=100)
@given(st.sampled_from(CODES), st.data())
def test_altered_and_cut_codes_give_a_face_or_one_error(code: bytes, data: st.DataObject) -> None:
    changed = bytearray(code[: data.draw(st.integers(0, len(code)))])
    for _ in range(data.draw(st.integers(0, 3)) if changed else 0):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    _face_or_refusal(bytes(changed))


def test_a_code_of_impossible_length_is_refused() -> None:
    for code in (b"", b"\0", bytes(MAX_CODE + 1)):
        with pytest.raises(BrokenPicture, match="length"):
            decode_face(code)


def test_a_file_of_another_size_than_it_says_is_refused(portrait_of: dict[int, Pixels]) -> None:
    large = avif.encode(portrait_of[256], 3000)
    assert large is not None
    with pytest.raises(BrokenPicture, match="damaged"):
        decode_face(bytes([1 << 2]) + avif.container(large.data, 256))


def _face_or_refusal(code: bytes) -> None:
    try:
        face = decode_face(code)
    except BrokenPicture:
        return
    assert face.dtype == np.uint8
    assert face.shape in [(size, size, 3) for size in SIZES]
