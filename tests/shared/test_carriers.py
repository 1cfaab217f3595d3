"""What surrounds the pixels must neither lose nor turn nor refuse a picture that browsers show."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps

from shared.carriers import kind_of
from shared.errors import BrokenPicture, PictureTooLarge, UnsupportedPicture
from shared.imaging import COST, decode_upload
from shared.recipe_files import recipes_in
from tests.shared.test_colour import chunk, colours, png, saved

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
PLAIN = saved(Image.fromarray(colours()))
JPEG = saved(Image.fromarray(colours()), "JPEG", quality=95)
WIDE = Image.fromarray(np.kron(colours(), np.ones((9, 11, 1), np.uint8)))  # 352 x 216

pillow_heif.register_heif_opener()


def segment(code: int, body: bytes) -> bytes:
    return bytes((0xFF, code)) + struct.pack(">H", len(body) + 2) + body


def exif(turn: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = turn
    return found


def spoilt(whole: bytes) -> bytes:
    """A chunk with a wrong checksum."""
    return whole[:-1] + bytes((whole[-1] ^ 1,))


@pytest.mark.parametrize(
    "extra",
    [
        spoilt(chunk(b"tEXt", b"Comment\0hello")),
        spoilt(chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"profile"))),
        spoilt(chunk(b"gAMA", struct.pack(">I", 100_000))),
        spoilt(chunk(b"tRNS", bytes(6))),
        spoilt(chunk(b"pHYs", bytes(9))),
        spoilt(chunk(b"eXIf", b"II*\0")),
        chunk(b"eXIf", b"nonsense"),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"zTXt", b"Comment\0\0damaged"),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(3_000_000))),
        chunk(b"tEXt", bytes(2_000_000)),
        chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(20_000_000))),
        chunk(b"iCCP", b"icc\0\0damaged"),
        chunk(b"gAMA", b""),
        chunk(b"cHRM", b""),
        chunk(b"pHYs", b""),
        chunk(b"acTL", b""),
        chunk(b"fcTL", bytes(3)),
        chunk(b"tIME", b""),
        chunk(b"abCd", bytes(9)),
        chunk(b"tEXt", b"x\0y") * 5000,
    ],
)
def test_ancillary_chunks_of_png_do_not_decide(extra: bytes) -> None:
    np.testing.assert_array_equal(decode_upload(png(PLAIN, extra)), colours())
    assert recipes_in(png(PLAIN, extra, chunk(b"tEXt", b"ddsr-recipe\0ddsr2.eyJ4IjoxfQ"))) == ["ddsr2.eyJ4IjoxfQ"]


@pytest.mark.parametrize(
    "extra",
    [
        segment(0xE1, b"Exif\0\0nonsense"),
        segment(0xE1, bytes(65_533)) * 100,
        segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(9)),
        segment(0xE2, b"ICC_PROFILE\0\1\2" + bytes(60_000)) * 100,
        segment(0xE2, b"MPF\0" + bytes(3)),
        segment(0xED, b"Photoshop 3.0\x008BIM" + bytes(3)),
        segment(0xE0, b"JFIF\0"),
        segment(0xEE, b"Adobe"),
        segment(0xE0, b""),
        segment(0xFE, bytes(65_533)) * 20,
        segment(0xEF, b"\xff\xd8\xff\xda\xff\xd9" * 99),
    ],
)
def test_application_segments_of_jpeg_do_not_decide(extra: bytes) -> None:
    np.testing.assert_array_equal(decode_upload(JPEG[:2] + extra + JPEG[2:]), decode_upload(JPEG))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}])
def test_a_jpeg_is_whole_without_its_end_marker_and_not_without_rows(options: dict[str, Any]) -> None:
    data = saved(WIDE, "JPEG", quality=90, **options)
    np.testing.assert_array_equal(decode_upload(data[:-2]), decode_upload(data))
    np.testing.assert_array_equal(decode_upload(data[:-1]), decode_upload(data))
    for part in (0.5, 0.8, 0.95):
        with pytest.raises(BrokenPicture):
            decode_upload(data[: round(part * len(data))])


def test_a_jpeg_that_breaks_off_at_a_restart_marker_is_truncated() -> None:
    data = saved(WIDE, "JPEG", quality=90, restart_marker_rows=1)
    places = [n for n in range(len(data) - 1) if data[n] == 0xFF and 0xD0 <= data[n + 1] <= 0xD7]
    assert len(places) > 5
    for place in places:
        with pytest.raises(BrokenPicture):
            decode_upload(data[:place])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_xmp_turns_nothing(form: str) -> None:
    """As browsers have it. EXIF that says 1 does not change that."""
    for more in ({}, {"exif": exif(1)}):
        if form == "PNG":
            data = png(saved(WIDE, **more), _xmp_chunk())
        else:  # the encoder of HEIC turns by XMP itself, hence the mark
            data = saved(WIDE, form, xmp=XMP.replace(b"tiff:", b"TIFF:"), **more).replace(b"TIFF:", b"tiff:")
        assert decode_upload(data).shape == (216, 352, 3)


def _xmp_chunk() -> bytes:
    return chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize(("form", "boxes"), [("AVIF", True), ("HEIF", True), ("HEIF", False)])
def test_avif_and_heic_are_turned_once(form: str, boxes: bool, turn: int) -> None:
    """A rotation may stand in the boxes of the file, beside EXIF, and must not count twice; else EXIF counts."""
    source = WIDE.copy()
    source.getexif()[0x0112] = turn
    upright = np.asarray(ImageOps.exif_transpose(source)).astype(float)
    data = saved(WIDE, form, exif=exif(turn).tobytes() if boxes else exif(turn), quality=90)
    assert (b"irot" in data or b"imir" in data) == (boxes and turn != 1)
    found = decode_upload(data)
    assert found.shape == upright.shape
    assert np.abs(found - upright).mean() < 6


def test_exif_of_avif_turns_nothing_even_when_damaged() -> None:
    """Browsers ask the boxes alone."""
    described = exif(1)
    described[0x010E] = "a description"
    data = saved(WIDE, "AVIF", exif=described)
    block = described.tobytes().removeprefix(b"Exif\0\0")
    assert block in data
    turned = exif(6).tobytes().removeprefix(b"Exif\0\0")
    assert len(turned) <= len(block)  # in its place, so that no offset of the file moves
    for body in (b"X" * len(block), turned.ljust(len(block), b"\0")):
        assert decode_upload(data.replace(block, body)).shape == (216, 352, 3)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "AVIF"])
def test_of_an_animation_the_first_frame_is_taken(form: str) -> None:
    frames = [Image.new("RGB", (32, 24), shade) for shade in ("black", "white", "red")]
    data = saved(frames[0], form, save_all=True, append_images=frames[1:], duration=100)
    assert decode_upload(data).max() < 6


def test_of_several_pictures_in_a_heic_the_primary_one_is_taken() -> None:
    file = pillow_heif.HeifFile()
    for shade in ("red", "black", "white"):
        file.add_from_pillow(Image.new("RGB", (64, 48), shade))
    stream = io.BytesIO()
    file.save(stream, primary_index=1)
    assert decode_upload(stream.getvalue()).max() < 10


def test_limits_on_pixels_hold_for_avif_and_heic() -> None:
    for form in ("AVIF", "HEIF"):
        data, pixels = saved(WIDE, form), 352 * 216 * COST.get(form, 1)
        assert decode_upload(data, max_pixels=pixels).shape == (216, 352, 3)
        with pytest.raises(PictureTooLarge):
            decode_upload(data, max_pixels=pixels - 1)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "HEIF"])
def test_a_format_that_is_taken_but_damaged_is_not_called_unknown(form: str) -> None:
    data = saved(WIDE, form)
    for part in (40, len(data) // 2):
        with pytest.raises(BrokenPicture):
            decode_upload(data[:part])


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"GIF89a", "GIF"),
        (b"II*\0", "TIFF"),
        (b"BM", "BMP"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"%PDF-1.7", "PDF"),
        (b'<?xml version="1.0"?><svg>', "SVG"),
        (b"\0\0\0\x18ftypmp42", "a film"),
        (b"hello", "no picture of a known format"),
        (b"", "no picture"),
    ],
)
def test_other_formats_are_named(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedPicture, match=f"the file is {name}.*; send JPEG, PNG, WebP, AVIF or HEIC$"):
        decode_upload(data)


def test_the_brands_of_avif_and_heic() -> None:
    assert kind_of(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"
    assert kind_of(b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf") == "HEIF"
