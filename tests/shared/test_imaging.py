import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shared.errors import BrokenPicture, DdsrError, PictureTooLarge, UnsupportedPicture, WrongPictureSize
from shared.imaging import MIN_SIDE, Pixels, decode_upload, encode_picture, fit_square

RECIPE = "ddsr2.eyJ4IjoxfQ"


def picture(height: int = 20, width: int = 30) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def test_png_is_lossless() -> None:
    np.testing.assert_array_equal(decode_upload(encode_picture(picture(), "png")), picture())


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    data = saved(Image.fromarray(picture()), "PNG", exif=exif)
    np.testing.assert_array_equal(decode_upload(data), np.rot90(picture(), -1))


def test_transparency_becomes_white() -> None:
    data = saved(Image.new("RGBA", (20, 20), (255, 0, 0, 0)), "PNG")
    assert (decode_upload(data) == 255).all()


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "I;16"])
def test_other_modes_become_rgb(mode: str) -> None:
    format = "JPEG" if mode == "CMYK" else "PNG"
    data = saved(Image.new(mode, (20, 20)), format)
    assert decode_upload(data).shape == (20, 20, 3)


def bomb(side: int) -> bytes:
    """A PNG that says it is side x side, of a few hundred bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [8_001, 60_000])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(PictureTooLarge):
        decode_upload(bomb(side))


def progressive(scans: int, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """A progressive JPEG with this many more scans than usual; `before` hides in a segment, `after` follows the end."""
    file = io.BytesIO()
    Image.fromarray(picture()).save(file, "JPEG", progressive=True, comment=before)
    data = file.getvalue()
    end = data.rindex(b"\xff\xd9")
    return data[:end] + data[data.rindex(b"\xff\xda") : end] * scans + data[end:] + after


def test_a_picture_of_endless_scans_is_not_decoded() -> None:
    """Each is a few bytes, and a walk over all pixels."""
    assert decode_upload(progressive(0)).shape == decode_upload(progressive(80)).shape
    with pytest.raises(PictureTooLarge, match="scans"):
        decode_upload(progressive(200))


def test_what_only_looks_like_a_scan_is_not_counted() -> None:
    """Films hang behind the photographs of many telephones, thumbnails hide in segments."""
    many = b"\xff\xda" * 300
    assert decode_upload(progressive(0, before=many, after=many)).shape == picture().shape


def test_another_size_than_the_demanded_is_seen_by_the_header() -> None:
    data = encode_picture(picture(), "png")
    with pytest.raises(WrongPictureSize):
        decode_upload(data[:-200], size=33)
    square = encode_picture(picture()[:20, :20], "png")
    assert decode_upload(square, size=20).shape == (20, 20, 3)
    with pytest.raises(BrokenPicture):
        decode_upload(square[:-200], size=20)


def test_too_many_bytes() -> None:
    with pytest.raises(PictureTooLarge):
        decode_upload(encode_picture(picture(), "png"), max_bytes=100)


@pytest.mark.parametrize("data", [b"", b"hello", saved(Image.new("RGB", (20, 20)), "GIF")])
def test_what_is_no_accepted_picture(data: bytes) -> None:
    with pytest.raises(UnsupportedPicture):
        decode_upload(data)


def test_truncated_and_tiny_pictures() -> None:
    with pytest.raises(BrokenPicture):
        decode_upload(encode_picture(picture(), "png")[:-200])
    with pytest.raises(BrokenPicture):
        decode_upload(encode_picture(picture(MIN_SIDE - 1), "png"))


GOOD = {format: encode_picture(picture(), format, recipe=RECIPE) for format in ("png", "jpeg", "webp")}  # type: ignore[arg-type]


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_damage_anywhere_is_a_picture_or_one_clear_error(format: str, data: st.DataObject) -> None:
    file = bytearray(GOOD[format])
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DdsrError):
        decode_upload(bytes(file))


def test_a_square_is_cut_from_the_centre() -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    assert (fit_square(wide, 40) == 200).all()


def test_the_right_size_is_left_alone_and_another_refused_without_cropping() -> None:
    np.testing.assert_array_equal(fit_square(picture(20, 20), 20, "none"), picture(20, 20))
    with pytest.raises(WrongPictureSize):
        fit_square(picture(), 20, "none")
