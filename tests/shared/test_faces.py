"""The one face of a photograph: the portrait of the examples, in larger pictures, twice, and not at all."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shared.errors import NoFace, SeveralFaces, WrongPictureSize
from shared.faces import Box, decode_and_fit, face_box, fit_picture
from shared.imaging import Photograph, Pixels, decode_upload, encode_picture, fit_square

PORTRAIT = Path(__file__).parents[2] / "examples" / "portrait.jpg"


def portrait(edge: int) -> Image.Image:
    with Image.open(PORTRAIT) as picture:
        return picture.convert("RGB").resize((edge, edge), Image.Resampling.LANCZOS)


def room(width: int, height: int) -> Image.Image:
    """A wall with a window and a table: edges, but no face."""
    picture = Image.new("RGB", (width, height), (188, 178, 160))
    draw = ImageDraw.Draw(picture)
    draw.rectangle([width * 0.1, height * 0.1, width * 0.3, height * 0.5], fill=(150, 190, 225), outline=(90, 70, 50))
    draw.line([width * 0.2, height * 0.1, width * 0.2, height * 0.5], fill=(90, 70, 50), width=5)
    draw.rectangle([0, height * 0.8, width, height], fill=(110, 80, 55))
    return picture


def photograph(width: int, height: int, *faces: tuple[int, int, int]) -> Pixels:
    """A room with the portrait at every (left, top, edge)."""
    picture = room(width, height)
    for left, top, edge in faces:
        picture.paste(portrait(edge), (left, top))
    return np.asarray(picture)


@pytest.mark.parametrize(
    ("width", "height", "left", "top", "edge"),
    [
        (900, 600, 600, 180, 232),
        (640, 1100, 20, 700, 300),
        (3600, 2400, 1500, 200, 1000),
    ],
)
def test_the_crop_is_about_the_face(width: int, height: int, left: int, top: int, edge: int) -> None:
    """The portrait shows its face in the middle: box and portrait agree to a fifth of the portrait's edge."""
    rgb = photograph(width, height, (left, top, edge))
    box = face_box(rgb)
    assert abs(box.left + box.side / 2 - (left + edge / 2)) < edge / 5
    assert abs(box.top + box.side / 2 - (top + edge / 2)) < edge / 5
    assert 0.5 * edge < box.side < 1.2 * edge
    pixels, said = fit_picture(Photograph.of(rgb), 128, "face")
    assert said == box
    assert pixels.shape == (128, 128, 3)
    part = rgb[box.top : box.top + box.side, box.left : box.left + box.side]
    np.testing.assert_array_equal(pixels, fit_square(part, 128))


def test_a_face_in_a_corner_keeps_the_crop_inside() -> None:
    rgb = photograph(700, 500, (0, 268, 232))
    box = face_box(rgb)
    assert box.left >= 0
    assert box.top + box.side <= 500
    narrow = np.ascontiguousarray(np.asarray(portrait(400))[:, 110:310])
    assert face_box(narrow).side == 200


def test_the_box_counts_in_the_picture_after_exif_has_turned_it() -> None:
    upright = photograph(900, 600, (600, 180, 232))
    lying, file = Image.fromarray(np.rot90(upright)), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    lying.save(file, "JPEG", quality=95, exif=exif)
    turned = decode_upload(file.getvalue())
    assert turned.shape == upright.shape
    box, expected = face_box(turned), face_box(upright)
    assert abs(box.left - expected.left) < 20
    assert abs(box.top - expected.top) < 20


def test_no_face_and_several_say_what_to_do() -> None:
    with pytest.raises(NoFace, match="from the front"):
        face_box(photograph(900, 600))
    with pytest.raises(NoFace):
        face_box(np.zeros((16, 2000, 3), np.uint8))
    two = photograph(900, 600, (50, 100, 260), (560, 250, 240))
    with pytest.raises(SeveralFaces, match=r"^2 faces .*`crop=centre`"):
        face_box(two)


def test_the_other_crops_are_those_of_fit_square() -> None:
    rgb = photograph(900, 600)
    for crop in ("centre", "auto"):
        pixels, box = fit_picture(Photograph.of(rgb), 64, crop)
        assert box == Box(150, 0, 600, "centre")
        np.testing.assert_array_equal(pixels, fit_square(rgb, 64, "centre"))
    with pytest.raises(WrongPictureSize):
        fit_picture(Photograph.of(rgb), 64, "none")


def test_auto_takes_the_one_face_and_of_several_the_centre() -> None:
    one = Photograph.of(photograph(900, 600, (600, 180, 232)))
    assert fit_picture(one, 64)[1] == face_box(one.pixels)
    two = Photograph.of(photograph(900, 600, (50, 100, 260), (560, 250, 240)))
    assert fit_picture(two, 64)[1] == Box(150, 0, 600, "centre")


def test_auto_leaves_a_picture_of_the_models_size_as_it_is() -> None:
    cut = np.asarray(portrait(256))
    assert face_box(cut).of == "face"
    pixels, box = fit_picture(Photograph.of(cut), 256)
    np.testing.assert_array_equal(pixels, cut)
    assert box == Box(0, 0, 256, "centre")


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_face_is_found_and_framed_as_it_lies(turns: int) -> None:
    upright = photograph(900, 600, (600, 180, 232))
    expected = face_box(upright)
    box = face_box(np.ascontiguousarray(np.rot90(upright, turns)))
    part = np.zeros((600, 900), bool)
    part[expected.top : expected.top + expected.side, expected.left : expected.left + expected.side] = True
    rows, columns = np.nonzero(np.rot90(part, turns))
    assert abs(box.left + box.side / 2 - columns.mean()) < 12
    assert abs(box.top + box.side / 2 - rows.mean()) < 12
    assert 0.8 < box.side / expected.side < 1.25  # the detector's sizes are in steps of 5/6


@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_the_box_of_a_large_photograph_counts_in_its_own_pixels(form: str) -> None:
    """It is decoded smaller; what is cut out is the same part, to the detector's accuracy."""
    rgb = photograph(5000, 3334, (3300, 1000, 1300))
    pixels, box = decode_and_fit(encode_picture(rgb, form), 128)  # type: ignore[arg-type]
    assert box is not None
    assert box.of == "face"
    assert abs(box.left + box.side / 2 - 3950) < 130
    assert abs(box.top + box.side / 2 - 1650) < 130
    part = rgb[box.top : box.top + box.side, box.left : box.left + box.side]
    assert np.abs(pixels.astype(float) - fit_square(part, 128)).mean() < 3
