"""Recipes inside picture files, where they were written and where other programs move them to."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from shared.errors import MissingRecipe, RecipeError, RecipeMismatch
from shared.imaging import encode_picture
from shared.recipe import Recipe
from shared.recipe_files import MAX_INFLATED, choose_recipe, recipes_in

RECIPE = Recipe("a" * 16, "keyed", "heun", 5, "a man", bytes(16), bytes(160))
OTHER = replace(RECIPE, nonce=bytes(15) + b"\1")
TEXT = RECIPE.to_text()
RGB = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
XMP = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><dc:description>{TEXT}</dc:description></x:xmpmeta>'.encode()


def saved(form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, form, **options)
    return file.getvalue()


def png(name: str, text: str = TEXT, *, packed: bool = False, wide: bool = False) -> bytes:
    info = PngImagePlugin.PngInfo()
    if wide:
        info.add_itxt(name, text, "en", "Beschreibung", zip=packed)
    else:
        info.add_text(name, text, zip=packed)
    return saved("PNG", pnginfo=info)


def exif(tag: int, value: Any, *, inside: bool = False) -> Image.Exif:
    found = Image.Exif()
    (found.get_ifd(0x8769) if inside else found)[tag] = value
    return found


def with_chunk(kind: bytes, body: bytes, *, crc: int | None = None) -> bytes:
    """A PNG with one more chunk before its pixels."""
    file = saved("PNG")
    check = zlib.crc32(kind + body) if crc is None else crc
    return file[:33] + struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check) + file[33:]


def raw_profile() -> str:
    """As ImageMagick writes an EXIF block into a PNG text."""
    block = exif(0x010E, TEXT).tobytes().hex()
    lines = "\n".join(block[start : start + 72] for start in range(0, len(block), 72))
    return f"\nexif\n{len(block) // 2:>8}\n{lines}\n"


PLACES: dict[str, Callable[[], bytes]] = {
    "png": lambda: encode_picture(RGB, "png", recipe=TEXT),
    "jpeg": lambda: encode_picture(RGB, "jpeg", recipe=TEXT),
    "webp": lambda: encode_picture(RGB, "webp", recipe=TEXT),
    "PNG text of other case": lambda: png("DDSR-Recipe"),
    "PNG text of another name": lambda: png("Comment", f"DDSR-Recipe: {TEXT}"),
    "PNG text, compressed": lambda: png("Description", packed=True),
    "PNG international text": lambda: png("Description", wide=True),
    "PNG international text, compressed": lambda: png("Description", packed=True, wide=True),
    "PNG raw profile": lambda: png("Raw profile type exif", raw_profile(), packed=True),
    "PNG raw profile, plain": lambda: png("Raw profile type APP1", raw_profile()),
    "PNG text before random bytes": lambda: with_chunk(b"tEXt", b"a\0" + TEXT.encode(), crc=0x41424344),
    "EXIF description of a PNG": lambda: saved("PNG", exif=exif(0x010E, TEXT)),
    "EXIF description of a JPEG": lambda: saved("JPEG", exif=exif(0x010E, f"made by a phone {TEXT}")),
    "EXIF user comment": lambda: saved("JPEG", exif=exif(0x9286, b"ASCII\0\0\0" + TEXT.encode(), inside=True)),
    "EXIF user comment, UTF-16": lambda: saved(
        "JPEG", exif=exif(0x9286, b"UNICODE\0" + TEXT.encode("utf-16-be"), inside=True)
    ),
    "EXIF comment of Windows": lambda: saved("JPEG", exif=exif(0x9C9C, TEXT.encode("utf-16-le") + b"\0\0")),
    "XMP of a JPEG": lambda: saved("JPEG", xmp=XMP),
    "XMP of a PNG": lambda: png("XML:com.adobe.xmp", XMP.decode(), wide=True),
    "XMP of a WebP": lambda: saved("WEBP", xmp=XMP),
    "second of two comments": lambda: saved("JPEG", comment="hello").replace(
        b"\xff\xdb", b"\xff\xff\xfe" + struct.pack(">H", 2 + len(TEXT)) + TEXT.encode() + b"\xff\xdb", 1
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_recipe_is_found(place: str) -> None:
    file = PLACES[place]()
    assert recipes_in(file) == [TEXT]
    assert recipes_in(file) == [TEXT]
    assert choose_recipe(file, None) == RECIPE
    assert choose_recipe(file, f"DDSR-Recipe: {TEXT}\n") == RECIPE
    with pytest.raises(RecipeMismatch):
        choose_recipe(file, OTHER.to_text())


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_without_one_it_is_missing_or_the_one_beside_it(form: str) -> None:
    file = saved(form)
    assert not recipes_in(file)
    for nothing in (None, "", " \n"):
        with pytest.raises(MissingRecipe):
            choose_recipe(file, nothing)
    assert choose_recipe(file, TEXT) == RECIPE


def test_two_that_differ_are_not_chosen_between() -> None:
    file = with_chunk(b"tEXt", f"a\0{TEXT} or {OTHER.to_text()}".encode())
    with pytest.raises(RecipeMismatch):
        choose_recipe(file, None)
    assert choose_recipe(file, OTHER.to_text()) == OTHER


def test_a_damaged_one_inside_is_an_error_or_ignored_beside_a_good_one() -> None:
    file = with_chunk(b"tEXt", b"ddsr-recipe\0" + TEXT[:-9].encode())
    with pytest.raises(RecipeError):
        choose_recipe(file, None)
    assert choose_recipe(file, TEXT) == RECIPE


def test_one_of_another_version_contradicts() -> None:
    with pytest.raises(RecipeMismatch):
        choose_recipe(with_chunk(b"tEXt", b"a\0ddsr1.abc"), TEXT)


def test_what_compressed_texts_give_is_bounded() -> None:
    bomb = zlib.compress(bytes(MAX_INFLATED) + TEXT.encode())
    assert recipes_in(with_chunk(b"zTXt", b"a\0\0" + bomb)) == []
    assert recipes_in(with_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(MAX_INFLATED // 2) + TEXT.encode()))) == [TEXT]


@pytest.mark.parametrize("place", PLACES)
def test_damage_never_breaks(place: str) -> None:
    whole, chance = PLACES[place](), random.Random(3)
    for _ in range(50):
        file = bytearray(whole[: chance.randrange(len(whole))])
        for _ in range(min(len(file), 4)):
            file[chance.randrange(len(file))] = chance.randrange(256)
        assert all(text.startswith("ddsr") for text in recipes_in(bytes(file)))
