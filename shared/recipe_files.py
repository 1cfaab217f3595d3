"""The recipe inside a picture file, wherever the programs on its way have moved it.

`shared.imaging.encode_picture` writes it as a PNG text, a JPEG comment or the EXIF description of a WebP. Others move
texts about: to PNG texts of other names, EXIF descriptions and user comments, XMP, IPTC. So every part of a file that
holds text is looked through, compressed or not, in UTF-8 or UTF-16; pixels are not decoded, and nothing here fails on
a damaged file.
"""

import re
import zlib
from collections.abc import Iterator

from shared.errors import MissingRecipe, RecipeError, RecipeMismatch
from shared.recipe import Recipe, clean_recipe

PNG, JPEG, RIFF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF"
MAX_PARTS = 10_000  # of a file, and bytes that all its compressed texts may give
MAX_INFLATED = 4 * 2**20
_TEXT = re.compile(rb"ddsr[0-9]{1,3}\.[A-Za-z0-9_-]+")
_WIDE = re.compile(rb"d\0d\0s\0r\0(?:[0-9]\0){1,3}\.\0(?:[A-Za-z0-9_-]\0)*[A-Za-z0-9_-]")  # UTF-16, either end first
_RAW = b"Raw profile type "  # ImageMagick's PNG texts that hold EXIF and the like in hex


def choose_recipe(data: bytes, given: str | None) -> Recipe:
    """The recipe that was handed on beside a picture file, else the one inside it.

    Raises:
        MissingRecipe: there is none.
        RecipeError: it cannot be read.
        RecipeMismatch: it is of another version, is not the one inside the file, or the file holds several.
    """
    text, inside = clean_recipe(given or ""), recipes_in(data)
    if not text and not inside:
        raise MissingRecipe("the picture carries no recipe; hand on the sender's `DDSR-Recipe` beside it")
    if not text:
        recipes = {Recipe.from_text(found) for found in inside}
        if len(recipes) > 1:
            raise RecipeMismatch("the picture holds several recipes that differ; hand on the right one beside it")
        return recipes.pop()
    recipe = Recipe.from_text(text)
    if inside and not any(_is(recipe, found) for found in inside):
        raise RecipeMismatch(
            "the recipe beside the picture is not the one inside it: one of them belongs to another stego; "
            "leave it out, or send the picture that it came with"
        )
    return recipe


def _is(recipe: Recipe, text: str) -> bool:
    """A damaged text inside a file contradicts nobody; one of another version does."""
    try:
        return Recipe.from_text(text) == recipe
    except RecipeMismatch:
        return False
    except RecipeError:
        return True


def recipes_in(data: bytes) -> list[str]:
    """The texts in a picture file that look like a recipe, each once, in the file's order."""
    found = [text for part in _parts(data) for text in (*_TEXT.findall(part), *map(_narrow, _WIDE.findall(part)))]
    return list(dict.fromkeys(text.decode("ascii") for text in found))


def _narrow(text: bytes) -> bytes:
    return text.replace(b"\0", b"")


def _parts(data: bytes) -> Iterator[bytes]:
    """The parts of a file that can hold text. Of an unknown format that is the file."""
    if data.startswith(PNG):
        yield from _of_png(data)
    elif data.startswith(RIFF):
        yield from (body for kind, body in _chunks(data, 12, "little") if kind in (b"EXIF", b"XMP "))
    elif data.startswith(JPEG):
        yield from _of_jpeg(data)
    else:
        yield data


def _chunks(data: bytes, place: int, order: str) -> Iterator[tuple[bytes, bytes]]:
    """Names and bodies of a PNG's chunks (big: length, name, body, CRC) or a WebP's (little: name, length, body)."""
    for _ in range(MAX_PARTS):
        if place + 8 > len(data):
            return
        if order == "big":
            length, kind, spare = int.from_bytes(data[place : place + 4]), data[place + 4 : place + 8], 4
        else:
            kind, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
            spare = length % 2
        yield kind, data[place + 8 : place + 8 + length]
        place += 8 + length + spare


def _of_png(data: bytes) -> Iterator[bytes]:
    left = MAX_INFLATED
    for kind, body in _chunks(data, len(PNG), "big"):
        name, _, rest = body.partition(b"\0")
        if kind in (b"eXIf", b"tEXt"):
            yield _from_hex(rest) if name.startswith(_RAW) else body
        elif kind in (b"zTXt", b"iTXt"):
            text = rest[1:] if kind == b"zTXt" else b"".join(rest[2:].split(b"\0", 2)[2:])  # past language and title
            if kind == b"zTXt" or rest.startswith(b"\1"):
                text = _inflated(text, left)
                left -= len(text)
            yield _from_hex(text) if name.startswith(_RAW) else text


def _inflated(data: bytes, most: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, most) if most > 0 else b""
    except zlib.error:
        return b""


def _from_hex(text: bytes) -> bytes:
    """What ImageMagick wrote: a line break, a name, a length, and hex in lines."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


def _of_jpeg(data: bytes) -> Iterator[bytes]:
    """The segments before the first scan that hold an application's data or a comment."""
    place = 2
    for _ in range(MAX_PARTS):
        place = data.find(b"\xff", place)
        marker = data[place + 1 : place + 2]
        if place < 0 or marker in (b"", b"\xda", b"\xd9"):
            return
        if marker == b"\xff" or marker == b"\x00" or b"\xd0" <= marker <= b"\xd8":  # fill bytes, marks without a body
            place += 1 if marker == b"\xff" else 2
            continue
        length = int.from_bytes(data[place + 2 : place + 4])
        if b"\xe0" <= marker <= b"\xef" or marker == b"\xfe":
            yield data[place + 4 : place + 2 + length]
        place += 2 + max(2, length)
