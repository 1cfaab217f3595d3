"""Upload bytes <-> checked RGB pictures. numpy and Pillow only.

What leaves here is uint8 (H, W, 3), RGB, upright (EXIF orientation applied), transparent parts on white, without any
metadata. What comes in is untrusted: the format is decided by decoding, never by name, and the pixel count is read
from the header before a single pixel is decoded.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from shared.errors import BrokenPicture, PictureTooLarge, UnsupportedPicture, WrongPictureSize

Pixels = NDArray[np.uint8]
PictureFormat = Literal["png", "jpeg", "webp"]
Crop = Literal["centre", "none"]

FORMATS = ("JPEG", "PNG", "WEBP")
MEDIA_TYPES: dict[PictureFormat, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
MAX_PIXELS = 50_000_000
MAX_BYTES = 20 * 2**20
MIN_SIDE = 16  # pixels; less than that is no photograph of a face
MAX_SCANS = 100  # of a progressive JPEG, which has about ten; each is 75 bytes that may cost a walk over all its pixels
WEBP_COST = 3  # its decoder holds the picture three times over, beside the one that Pillow makes
STRIP = 2**20  # pixels that are converted at a time
RECIPE_KEY = "ddsr-recipe"
ORIENTATION = 0x0112  # of EXIF
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")  # of JPEG: those that a length follows, and the end
_TURNS: Mapping[int, Callable[[Pixels], Pixels]] = {
    2: lambda rgb: rgb[:, ::-1],
    3: lambda rgb: rgb[::-1, ::-1],
    4: lambda rgb: rgb[::-1],
    5: lambda rgb: rgb.transpose(1, 0, 2),
    6: lambda rgb: rgb[::-1].transpose(1, 0, 2),
    7: lambda rgb: rgb[::-1, ::-1].transpose(1, 0, 2),
    8: lambda rgb: rgb[:, ::-1].transpose(1, 0, 2),
}


def decode_upload(
    data: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    formats: Sequence[str] = FORMATS,
    size: int | None = None,
) -> Pixels:
    """Decode an untrusted picture file.

    Args:
        size: demand a square of this edge, by the header: no other picture is decoded.

    Returns:
        uint8 (H, W, 3), RGB, upright, transparency on white.

    Raises:
        PictureTooLarge: more than `max_bytes` bytes, `max_pixels` pixels (checked before decoding; of WebP, a third) or
            MAX_SCANS scans.
        WrongPictureSize: not `size`.
        UnsupportedPicture: not one of `formats`.
        BrokenPicture: of such a format, but damaged, truncated or tiny.
    """
    if len(data) > max_bytes:
        raise PictureTooLarge(f"the file has more than {max_bytes} bytes")
    rgb, turn = _decoded(data, max_pixels, formats, size)
    return np.ascontiguousarray(_TURNS[turn](rgb)) if turn in _TURNS else rgb


def _decoded(data: bytes, max_pixels: int, formats: Sequence[str], size: int | None) -> tuple[Pixels, int]:
    """The pixels as they are stored, and the EXIF orientation."""
    with _opened(data, formats) as picture:
        width, height = picture.size
        most = max_pixels // WEBP_COST if picture.format == "WEBP" else max_pixels
        if width * height > most:
            raise PictureTooLarge(f"the picture has more than {most} pixels")
        if min(width, height) < MIN_SIDE:
            raise BrokenPicture(f"the picture is smaller than {MIN_SIDE} pixels")
        if size is not None and (width, height) != (size, size):
            raise wrong_size(width, height, size)
        if picture.format not in ("PNG", "WEBP") and _scans(data) > MAX_SCANS:
            raise PictureTooLarge(f"the picture has more than {MAX_SCANS} scans")
        with _decoding():
            picture.load()
            turn = picture.getexif().get(ORIENTATION)
            return _on_white_strips(picture), turn if isinstance(turn, int) else 1


def _scans(data: bytes) -> int:
    """Scans of a JPEG file up to its end, MAX_SCANS + 1 at most. What follows it, or hides in a segment, is none."""
    found, place = 0, 0
    while found <= MAX_SCANS and (marker := _MARKER.search(data, place)) is not None and marker[1] != b"\xd9":
        found += marker[1] == b"\xda"
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    return found


@contextmanager
def _decoding() -> Iterator[None]:
    """Decoders raise all kinds of errors on damaged files, `struct.error` among them, and warn of odd ones."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception:
        raise BrokenPicture("the picture is damaged or truncated") from None


def _opened(data: bytes, formats: Sequence[str]) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large and odd files; both are judged here
            return Image.open(io.BytesIO(data), formats=list(formats))
    except UnidentifiedImageError:
        raise UnsupportedPicture("the file is none of: " + ", ".join(formats)) from None
    except Image.DecompressionBombError:
        raise PictureTooLarge("the picture has too many pixels") from None
    except (OSError, ValueError, SyntaxError, EOFError):
        raise BrokenPicture("the picture is damaged") from None


def _on_white_strips(picture: Image.Image) -> Pixels:
    """uint8 (H, W, 3), converted strip by strip: every copy of 50 million pixels would be 200 MB, and a file of 6 kB
    can hold as many.
    """
    width, height = picture.size
    rgb = np.empty((height, width, 3), np.uint8)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        rgb[top:bottom] = np.asarray(_on_white(picture.crop((0, top, width, bottom))))
    return rgb


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


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
        exif[0x010E] = recipe  # ImageDescription
        options["exif"] = exif.tobytes()
    picture.save(file, format.upper(), **options)
    return file.getvalue()
