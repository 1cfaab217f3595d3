"""The targets of `fuzz/` over its corpus, whose `find-` files made a target fail, and over hypothesis' examples."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.__main__ import CORPUS
from fuzz.targets import CONTEXT, KEYS, TARGETS, announced
from shared.diffusion.payload import unseal
from shared.envelope import PublicKey, seal
from shared.errors import EnvelopeError, NotAuthentic, RecipeError
from shared.jobs.codec import pack
from shared.jobs.model import JobResult
from shared.recipe import Recipe
from tests.fuzz.conftest import BOUNDED

SEEDS = {name: [path.read_bytes() for path in sorted((CORPUS / name).glob("seed-*"))] for name in TARGETS}
texts = st.text(st.characters(exclude_categories=()), max_size=40)  # halves of characters too
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_corpus(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


def test_every_target_has_seeds() -> None:
    assert all(SEEDS.values())
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


@st.composite
def heads(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """The JSON of a seed with a few fields changed, left out or added."""
    text, zero, blob = draw(st.sampled_from(seeds)).partition(b"\0")
    fields: dict[str, Any] = json.loads(text)
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=3)):
        fields[name] = draw(values)
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=1)):
        del fields[name]
    fields |= draw(st.dictionaries(texts, values, max_size=1))
    return json.dumps(fields).encode() + zero + blob


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with bytes changed, cut out or put in."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(data)))
        data[start : start + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(data)


RECIPES = [seed[1:] for seed in SEEDS["recipe"] if seed[:1] == b"j"]
MESSAGES = [seed[1:] for seed in SEEDS["message"] if seed[:1] == b"j"]
ANNOUNCEMENTS = [seed[1:] for seed in SEEDS["message"] if seed.startswith(b'p{"name"')]


@BOUNDED
@given(heads(RECIPES).map(b"j".__add__) | damaged(SEEDS["recipe"]) | st.binary(max_size=300))
def test_recipes(data: bytes) -> None:
    TARGETS["recipe"](data)


@BOUNDED
@given(
    heads(MESSAGES).map(b"j".__add__)
    | heads(ANNOUNCEMENTS).map(b"p".__add__)
    | damaged(SEEDS["message"])
    | st.binary(max_size=300)
)
def test_messages(data: bytes) -> None:
    TARGETS["message"](data)


@BOUNDED
@given(damaged(SEEDS["sealed"]) | st.binary(max_size=300))
def test_envelopes(data: bytes) -> None:
    TARGETS["sealed"](data)
    if data not in SEEDS["sealed"]:
        with pytest.raises(EnvelopeError):
            KEYS.open(data, CONTEXT)


@BOUNDED
@given(damaged(SEEDS["face-code"]) | st.binary(max_size=300))
def test_codes_of_faces(data: bytes) -> None:
    TARGETS["face-code"](data)


@BOUNDED
@given(damaged(SEEDS["payload"]) | st.binary(max_size=300))
def test_payloads(data: bytes) -> None:
    TARGETS["payload"](data)
    if data not in SEEDS["payload"]:
        with pytest.raises(NotAuthentic):
            unseal(data, bytes(32), b"")


@BOUNDED
@given(damaged(SEEDS["picture"]))
def test_damaged_pictures(data: bytes) -> None:
    TARGETS["picture"](data)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


EXIF = bytes.fromhex("4d4d002a00000008000101120003000000010006000000000000")  # turned to the right
kinds = st.sampled_from(
    [b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"tRNS", b"PLTE", b"acTL", b"fcTL", b"fdAT", b"sBIT"]
)
keyed = st.sampled_from([b"", b"ddsr-recipe\0", b"ddsr-recipe\0\0\0\0\0", b"ddsr-recipe\0\1\0\0\0"])
chunks = st.builds(
    lambda kind, key, body, packed: _chunk(kind, key + (zlib.compress(body) if packed else body)),
    kinds,
    keyed,
    st.binary(max_size=40) | st.just(EXIF),
    st.booleans(),
)


@st.composite
def well_formed(draw: st.DrawFn) -> bytes:
    """A PNG whose checksums are right and whose chunks and header are odd: damage alone seldom gets so far."""
    depth, colour = draw(st.integers(0, 17)), draw(st.integers(0, 7))
    width, height = draw(st.integers(0, 40)), draw(st.integers(0, 40))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, draw(st.integers(0, 1)))
    pixels = zlib.compress(bytes(draw(st.integers(0, 6000))))
    before, after = draw(st.lists(chunks, max_size=3)), draw(st.lists(chunks, max_size=2))
    parts = [_chunk(b"IHDR", header), *before, _chunk(b"IDAT", pixels), *after, _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@BOUNDED
@given(well_formed())
def test_odd_pictures(data: bytes) -> None:
    TARGETS["picture"](data)


def test_half_a_character_is_no_recipe() -> None:
    """Found here: it was taken, and the name of its batch could not be written to Redis, a 500."""
    with pytest.raises(RecipeError):
        Recipe("0" * 16, "\ud800", "ddim", 5, "a", bytes(16))
    with pytest.raises(RecipeError):
        Recipe("0" * 16, "paper", "ddim", 5, "a \udfff", bytes(16))
    assert Recipe("0" * 16, "paper", "ddim", 5, "a \U0001f642", bytes(16)).to_text()


def test_a_key_of_low_order_is_refused() -> None:
    """Found here: a forged job that asks for its answer under such a key made the worker fail without a code."""
    for raw in (bytes(32), bytes([1, *bytes(31)])):
        with pytest.raises(EnvelopeError):
            seal(b"x", [PublicKey(raw)], CONTEXT)


@pytest.mark.parametrize(
    "head",
    [
        {"media_type": "text/html", "recipe": None, "seconds": 1.0},
        {"media_type": "image/png", "recipe": 5, "seconds": 1.0},
        {"media_type": "image/png", "recipe": None, "seconds": "1"},
        {"media_type": "image/png", "recipe": None, "seconds": True},
        {"media_type": "image/png", "recipe": None},
        {"media_type": "image/png", "recipe": None, "seconds": 1.0, "more": 1},
    ],
)
def test_a_result_of_wrong_types_is_no_result(head: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeError):
        JobResult.unpack(pack(head, b"png"))


@pytest.mark.parametrize(
    "change",
    [{"image_size": "32"}, {"image_size": 0}, {"model": None}, {"started": []}, {"name": 3}, {"private_webhooks": 1}],
)
def test_an_announcement_of_wrong_types_is_none(change: dict[str, Any]) -> None:
    """Found here: one such entry in Redis made every request a 500."""
    good = json.loads(ANNOUNCEMENTS[0])
    assert announced(json.dumps(good).encode()) is not None
    assert announced(json.dumps({**good, **change}).encode()) is None
