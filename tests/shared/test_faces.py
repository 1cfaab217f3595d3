"""The one face of a photograph: the portrait of the examples, in larger pictures, twice, and not at all."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shared.errors import NoFace, SeveralFaces, WrongPictureSize
from shared.faces import face_box, find_faces, fit_picture
from shared.imaging import Pixels, decode_upload, fit_square

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


@pytest.mark.parametrize(("width", "height", "left", "top", "edge"), [
    (900, 600, 600, 180, 232), (640, 1100, 20, 700, 300), (3600, 2400, 1500, 200, 1000),
])  # fmt: skip
def test_the_crop_is_about_the_face(width: int, height: int, left: int, top: int, edge: int) -> None:
    """The portrait shows its face in the middle: box and portrait agree to a fifth of the portrait's edge."""
    rgb = photograph(width, height, (left, top, edge))
    box = face_box(rgb)
    assert abs(box.left + box.side / 2 - (left + edge / 2)) < edge / 5
    assert abs(box.top + box.side / 2 - (top + edge / 2)) < edge / 5
    assert 0.5 * edge < box.side < 1.2 * edge
    pixels, said = fit_picture(rgb, 128, "face")
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
    assert len(find_faces(two)) == 2
    with pytest.raises(SeveralFaces, match=r"^2 faces .*`crop=centre`"):
        face_box(two)


def test_the_other_crops_are_those_of_fit_square() -> None:
    rgb = photograph(900, 600)
    pixels, box = fit_picture(rgb, 64)
    assert box is None
    np.testing.assert_array_equal(pixels, fit_square(rgb, 64, "centre"))
    with pytest.raises(WrongPictureSize):
        fit_picture(rgb, 64, "none")
