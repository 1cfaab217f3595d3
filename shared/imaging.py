"""Upload bytes <-> checked RGB pictures. numpy and Pillow, with pillow-heif for HEIC.

What leaves here is what a browser shows: uint8 (H, W, 3), sRGB, upright, transparent parts on white, without any
metadata. What comes in is untrusted: the format is decided by content, never by name, and the pixel count is read
from the header before a single pixel is decoded.
"""

import functools
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image, PngImagePlugin

from shared.carriers import (
    MAX_PROFILE,
    TAKEN,
    TURNING_BOX,
    Carrier,
    exif_of,
    kind_of,
    orientation,
    profile_of_boxes,
    scans,
    taken_apart,
)
from shared.colour import to_srgb
from shared.errors import BrokenPicture, PictureTooLarge, UnsupportedPicture, WrongPictureSize

Pixels = NDArray[np.uint8]
PictureFormat = Literal["png", "jpeg", "webp"]
Crop = Literal["centre", "none"]
Convert = Callable[[Image.Image], Image.Image]

MEDIA_TYPES: dict[PictureFormat, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
MAX_PIXELS = 64_000_000
MAX_BYTES = 20 * 2**20
MAX_SIDE = 20_000  # pixels
MIN_SIDE = 16  # pixels; less than that is no photograph of a face
MAX_SCANS = 100  # of a progressive JPEG, which has about ten; each is 75 bytes that may cost a walk over all its pixels
COST: Mapping[str, int] = {"WEBP": 3, "AVIF": 2}  # whose decoders take more memory may have a part of the pixels
DEEP_COST = 2  # of HEIC with more than 8 bits
STRIP = 2**20  # pixels that are converted at a time
RECIPE_KEY = "ddsr-recipe"
DESCRIPTION = 0x010E  # of EXIF
_FACTORS = (8, 4, 2, 1)  # by which a JPEG can be decoded smaller
_TURNS: Mapping[int, Callable[[Pixels], Pixels]] = {
    2: lambda rgb: rgb[:, ::-1],
    3: lambda rgb: rgb[::-1, ::-1],
    4: lambda rgb: rgb[::-1],
    5: lambda rgb: rgb.transpose(1, 0, 2),
    6: lambda rgb: rgb[::-1].transpose(1, 0, 2),
    7: lambda rgb: rgb[::-1, ::-1].transpose(1, 0, 2),
    8: lambda rgb: rgb[:, ::-1].transpose(1, 0, 2),
}
_END = b"\xff\xd9"  # of a JPEG, and what decodes to something in every interval between restart markers
_OTHER_ENDS = tuple(
    b"".join(s * 12 + bytes((0xFF, 0xD0 + n)) for n in range(8)) + _END for s in (b"\xb7m\xdb", b"UUU", b"\xaa3\xcc")
)


@dataclass(frozen=True)
class Limits:
    """What is decoded at all: bytes of the file, pixels, pixels of a side."""

    bytes: int = MAX_BYTES
    pixels: int = MAX_PIXELS
    side: int = MAX_SIDE


LIMITS = Limits()


@dataclass(frozen=True)
class Photograph:
    """A picture, perhaps smaller than its file.

    Attributes:
        pixels: uint8 (H, W, 3), sRGB, upright.
        width, height: of the upright picture in the file, in its pixels.
    """

    pixels: Pixels
    width: int
    height: int

    @classmethod
    def of(cls, rgb: Pixels) -> "Photograph":
        """These pixels, uint8 (H, W, 3), as large as their file."""
        return cls(rgb, rgb.shape[1], rgb.shape[0])


def decode_upload(
    data: bytes, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS, size: int | None = None
) -> Pixels:
    """Decode an untrusted picture file in its full size. See `decode_photograph`.

    Args:
        size: demand a square of this edge, by the header: no other picture is decoded.

    Returns:
        uint8 (H, W, 3), sRGB, upright, transparency on white.

    Raises:
        WrongPictureSize: not `size`. And as `decode_photograph`.
    """
    return decode_photograph(data, Limits(max_bytes, max_pixels), size=size).pixels


def decode_photograph(
    data: bytes, limits: Limits = LIMITS, *, size: int | None = None, least: tuple[int, int] | None = None
) -> Photograph:
    """Decode an untrusted picture file, reduced where it is larger than needed.

    Args:
        size: demand a square of this edge, by the header: no other picture is decoded.
        least: pixels that the longer and the shorter side must keep; None: all of them. Sides are divided by 2, 4 or 8.

    Raises:
        PictureTooLarge: beyond `limits`, by its header (of some formats a part of the pixels, see COST), or more
            scans than MAX_SCANS.
        WrongPictureSize: not `size`.
        UnsupportedPicture: of no format that is taken; the text names those, and what came.
        BrokenPicture: of such a format, but damaged, truncated or tiny.
    """
    if len(data) > limits.bytes:
        raise PictureTooLarge(f"the file has more than {limits.bytes} bytes")
    kind = kind_of(data)
    if kind not in TAKEN:
        raise UnsupportedPicture(_not_taken(kind))
    with _decoding():
        carrier = taken_apart(data, kind)
    try:
        return _decoded(kind, carrier, limits, size, least)
    except BrokenPicture:
        if kind != "JPEG":
            raise
    return _endless_jpeg(carrier, limits, size, least)


def _not_taken(kind: str | None) -> str:
    *most, last = TAKEN.values()
    return f"the file is {kind or 'no picture of a known format'}; send {', '.join(most)} or {last}"


def _endless_jpeg(carrier: Carrier, limits: Limits, size: int | None, least: tuple[int, int] | None) -> Photograph:
    """A JPEG without its end marker. It is whole if nothing that follows its last byte can change the picture."""

    def ended(end: bytes) -> Photograph:
        return _decoded("JPEG", replace(carrier, data=carrier.data.rstrip(b"\xff") + end), limits, size, least)

    found = ended(_END)
    if not all(np.array_equal(found.pixels, ended(other).pixels) for other in _OTHER_ENDS):
        raise BrokenPicture("the picture is truncated")
    return found


def _decoded(
    kind: str, carrier: Carrier, limits: Limits, size: int | None, least: tuple[int, int] | None
) -> Photograph:
    with _opened(carrier.data, kind) as picture:
        width, height = picture.size
        deep = picture.info.get("bit_depth", 8) > 8
        _check_size(width, height, limits, DEEP_COST if deep else COST.get(kind, 1), size)
        if kind == "JPEG" and scans(carrier.data, MAX_SCANS) > MAX_SCANS:
            raise PictureTooLarge(f"the picture has more than {MAX_SCANS} scans")
        with _decoding():
            factor = _factor(width, height, least) if least else 1
            if kind == "JPEG" and factor > 1:
                picture.draft(None, (width // factor, height // factor))
                factor = 1 if picture.size != (width, height) else factor
            picture.load()
            turn = _turn(picture, carrier.data) if carrier.turn is None else carrier.turn
            profile = _profile(picture, carrier)
            rgb = _flat(picture, to_srgb(profile, picture.mode) if profile else None, factor, carrier.depth)
    if turn in _TURNS:
        rgb = np.ascontiguousarray(_TURNS[turn](rgb))
    return Photograph(rgb, *((height, width) if 5 <= turn <= 8 else (width, height)))


def _check_size(width: int, height: int, limits: Limits, cost: int, size: int | None) -> None:
    most = limits.pixels // cost
    if width * height > most:
        raise PictureTooLarge(f"the picture has {width}x{height} pixels; {most} are taken")
    if max(width, height) > limits.side:
        raise PictureTooLarge(f"a side has at most {limits.side} pixels")
    if min(width, height) < MIN_SIDE:
        raise BrokenPicture(f"the picture is smaller than {MIN_SIDE} pixels")
    if size is not None and (width, height) != (size, size):
        raise wrong_size(width, height, size)


def _factor(width: int, height: int, least: tuple[int, int]) -> int:
    longer, shorter = max(width, height), min(width, height)
    return next((f for f in _FACTORS if longer // f >= least[0] and shorter // f >= least[1]), 1)


def _turn(picture: Image.Image, data: bytes) -> int:
    """A decoder of HEIC has turned the picture by the file's boxes; where there are none, EXIF says how it lies."""
    if picture.format != "HEIF":
        return orientation(exif_of(picture))
    import pillow_heif

    if TURNING_BOX.search(data):
        return 1
    return orientation(pillow_heif.open_heif(io.BytesIO(data)).info.get("exif"))  # its plugin mixes XMP into it


def _profile(picture: Image.Image, carrier: Carrier) -> bytes | None:
    """The ICC profile of the pixels. In AVIF and HEIC numbers may stand for one."""
    if picture.format in ("PNG", "JPEG"):
        return carrier.profile
    found = picture.info.get("icc_profile")
    if isinstance(found, bytes) and found:
        return found if len(found) <= MAX_PROFILE else None
    return profile_of_boxes(carrier.data) if picture.format in ("AVIF", "HEIF") else None


@contextmanager
def _decoding() -> Iterator[None]:
    """Decoders raise all kinds of errors on damaged files, `struct.error` among them, and warn of odd ones."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception:
        raise BrokenPicture("the picture is damaged or truncated") from None


def _opened(data: bytes, kind: str) -> Image.Image:
    if kind == "HEIF":
        _learn_heif()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # as the other decoders; `DECODE_THREADS` pictures are decoded at a time
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large and odd files; both are judged here
            return Image.open(io.BytesIO(data), formats=[kind])
    except Image.DecompressionBombError:
        raise PictureTooLarge("the picture has too many pixels") from None
    except Exception:
        raise BrokenPicture("the picture is damaged") from None


@functools.cache
def _learn_heif() -> None:
    """Only what decodes uploads has the library."""
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)


def _flat(picture: Image.Image, convert: Convert | None, factor: int, depth: int) -> Pixels:
    """uint8 (H / factor, W / factor, 3), converted strip by strip: every copy of 50 million pixels would be 200 MB,
    and a file of 6 kB can hold as many.
    """
    width, height = picture.size
    rgb = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    rows = max(1, STRIP // width // factor) * factor
    for top in range(0, height, rows):
        strip = on_white(picture.crop((0, top, width, min(top + rows, height))), convert, depth)
        strip = strip.reduce(factor) if factor > 1 else strip
        rgb[top // factor : top // factor + strip.height] = np.asarray(strip)
    return rgb


def on_white(picture: Image.Image, convert: Convert | None = None, depth: int = 8) -> Image.Image:
    """A picture of any mode as RGB, as a browser shows it on a white page.

    Args:
        convert: gives the colours of the picture, without its transparency, as RGB; None: Pillow does.
        depth: bits of a sample in the file, in which the transparent value of a PNG counts.
    """
    picture = _of_eight_bits(picture, depth)
    clear = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    picture.info.pop("transparency", None)
    colours = convert(picture) if convert else picture.convert("RGB")
    if clear is None:
        return colours
    colours.putalpha(clear)
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")


def _of_eight_bits(picture: Image.Image, depth: int) -> Image.Image:
    """The picture with samples of 8 bits, and its transparent value among them.

    Pillow clips I and I;16 at 255 rather than scaling them. I holds 16 bits, as every file that gives it does; F has
    Pillow's range, 0..255. A copy, so that the caller's `info` stays.
    """
    value, picture = picture.info.get("transparency"), picture.copy()
    if picture.mode == "La":
        return picture.convert("LA")
    if picture.mode[0] not in "IF":
        if depth == 16 and isinstance(value, tuple):
            picture.info["transparency"] = tuple(one >> 8 for one in value)
        elif depth < 8 and isinstance(value, int) and picture.mode == "L":
            picture.info["transparency"] = value * 255 // (2**depth - 1)
        return picture
    samples = np.asarray(picture).astype(np.float64)
    scaled = np.rint(np.clip(samples / (1 if picture.mode == "F" else 257), 0, 255)).astype(np.uint8)
    grey = Image.fromarray(scaled)
    if isinstance(value, int):
        grey.putalpha(Image.fromarray(np.where(samples == value, 0, 255).astype(np.uint8)))
    return grey


def fit_square(rgb: Pixels, size: int, crop: Crop = "centre") -> Pixels:
    """The picture at the model's size, uint8 (size, size, 3).

    `centre` takes the largest centred square and resizes it (Lanczos). `none` accepts only a picture of that size.

    Raises:
        WrongPictureSize: `none`, and the picture is not size x size.
    """
    height, width = rgb.shape[:2]
    if (height, width) == (size, size):
        return rgb
    if crop == "none":
        raise wrong_size(width, height, size)
    side = min(height, width)
    return cut_square(rgb, size, left=(width - side) // 2, top=(height - side) // 2, side=side)


def wrong_size(width: int, height: int, size: int) -> WrongPictureSize:
    return WrongPictureSize(f"the picture is {width}x{height}; {size}x{size} is needed without cropping")


def cut_square(rgb: Pixels, size: int, *, left: int, top: int, side: int) -> Pixels:
    """The square of `side` pixels whose corner is (left, top), resized (Lanczos) to uint8 (size, size, 3)."""
    square = Image.fromarray(np.ascontiguousarray(rgb[top : top + side, left : left + side]))
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))


def encode_picture(rgb: Pixels, format: PictureFormat, *, recipe: str | None = None, quality: int = 95) -> bytes:
    """Encode uint8 (H, W, 3) as a file. PNG is lossless and carries `recipe` as iTXt; the others are lossy.

    In JPEG the recipe is a comment, in WebP an EXIF description. `quality` (1..100) concerns JPEG and WebP.
    """
    file, picture = io.BytesIO(), Image.fromarray(rgb)
    options: dict[str, Any] = {"quality": quality}
    if format == "png":
        text = PngImagePlugin.PngInfo()
        if recipe is not None:
            text.add_itxt(RECIPE_KEY, recipe)
        options = {"pnginfo": text, "optimize": True}
    elif format == "jpeg":
        options |= {"subsampling": 0, "comment": recipe or ""}
    elif recipe is not None:
        exif = Image.Exif()
        exif[DESCRIPTION] = recipe
        options["exif"] = exif.tobytes()
    picture.save(file, format.upper(), **options)
    return file.getvalue()
