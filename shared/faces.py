"""Find the one face of a photograph and cut it out. dlib, numpy and Pillow; no torch.

The detector is dlib's own (histograms of oriented gradients, trained on frontal faces); its weights are compiled
into the library. It looks at a reduced grey picture, which costs a quarter less than colour and finds the same. It
sees faces from the front or nearly so, and nothing of whose they are.
"""

import math
import threading
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.errors import NoFace, SeveralFaces
from shared.imaging import LIMITS, Limits, Photograph, Pixels, cut_square, decode_photograph, fit_square

Face = tuple[float, float, float, float]  # left, top, right, bottom in pixels
FaceCrop = Literal["auto", "centre", "face", "none"]
Cut = Literal["face", "centre"]

LOOK_AT = 1072  # pixels of the longer side that the detector sees; it finds faces of 75 of them and more
MOST_ENLARGED = 2.0
ENOUGH = 3  # times the model's size that a photograph's longer side keeps at least
FACE_SHARE = 0.56  # width of the detector's box in a picture such as the embedded model was trained on, and where
FACE_ACROSS, FACE_DOWN = 0.51, 0.57  # its centre lies: medians over 150 of eval-faces
WHAT_TO_DO = "or send `crop=centre` with a picture that is cut already"


@dataclass(frozen=True)
class Box:
    """A square of the upright picture: the corner's pixel, the side in pixels, and what it was cut around."""

    left: int
    top: int
    side: int
    of: Cut = "face"


def decode_and_fit(
    data: bytes, size: int, crop: FaceCrop = "auto", limits: Limits = LIMITS
) -> tuple[Pixels, Box | None]:
    """A file to the picture that is hidden: `decode_photograph`, then `fit_picture`, and their errors.

    Only as much is decoded as detector and model need; `none` takes the pixels as they are.
    """
    if crop == "none":
        return fit_picture(decode_photograph(data, limits, size=size), size, crop)
    return fit_picture(decode_photograph(data, limits, least=(max(LOOK_AT, ENOUGH * size), 2 * size)), size, crop)


def fit_picture(photograph: Photograph, size: int, crop: FaceCrop = "auto") -> tuple[Pixels, Box | None]:
    """uint8 (size, size, 3), and which square of the photograph it was, in the pixels of its file; None for `none`.

    `face` takes the square around the one face, `centre` the largest one in the middle, `auto` the face where there is
    exactly one and the picture has not the model's size already, else the centre. `none` cuts nothing.

    Raises:
        WrongPictureSize: `none`, and the picture is not size x size.
        NoFace, SeveralFaces: `face`, and there is not exactly one.
    """
    rgb = photograph.pixels
    if crop == "none":
        return fit_square(rgb, size, crop), None
    fits = (photograph.width, photograph.height) == (size, size)
    box = _centre(rgb)
    if crop == "face" or (crop == "auto" and not fits):
        box = face_box(rgb) if crop == "face" else _only_face(rgb) or box
    return cut_square(rgb, size, left=box.left, top=box.top, side=box.side), _in_file(box, photograph)


def _centre(rgb: Pixels) -> Box:
    height, width = rgb.shape[:2]
    side = min(height, width)
    return Box((width - side) // 2, (height - side) // 2, side, "centre")


def _only_face(rgb: Pixels) -> Box | None:
    try:
        return face_box(rgb)
    except (NoFace, SeveralFaces):
        return None


def _in_file(box: Box, photograph: Photograph) -> Box:
    """A box of the reduced picture, in the pixels of the file."""
    scale = max(photograph.width, photograph.height) / max(photograph.pixels.shape)
    side = min(round(box.side * scale), photograph.width, photograph.height)
    left, top = round(box.left * scale), round(box.top * scale)
    return Box(min(left, photograph.width - side), min(top, photograph.height - side), side, box.of)


def face_box(rgb: Pixels) -> Box:
    """The square around the one face of uint8 (H, W, 3), with a margin for hair, chin and ears.

    It lies inside the picture: near an edge it is moved, in a narrow picture it is smaller. A face that lies on its
    side or on its head is found where none is upright, and framed as it lies.

    Raises:
        NoFace, SeveralFaces: their text says what to do.
    """
    seen, scale = _at_working_size(rgb)
    found = [(0, face) for face in _faces(seen)]
    for turns in range(1, 4) if not found else ():
        found += [(turns, face) for face in _faces(np.ascontiguousarray(np.rot90(seen, turns)))]
    if not found:
        raise NoFace(f"send a sharper or closer picture that shows the face from the front, {WHAT_TO_DO}")
    if len(found) > 1:
        raise SeveralFaces(f"{len(found)} faces were found; cut the picture to the one to hide, {WHAT_TO_DO}")
    turns, face = found[0]
    height, width = rgb.shape[:2]
    across, down, side = _framed(face, scale, min(height, width))
    across, down = _back(across, down, turns, width, height)
    left, top = round(across - side / 2), round(down - side / 2)
    return Box(min(max(left, 0), width - side), min(max(top, 0), height - side), side)


def _framed(face: Face, scale: float, most: int) -> tuple[float, float, int]:
    """Centre and side of the square around a face of the detector's picture, in pixels of the turned photograph."""
    left, top, right, bottom = (edge / scale for edge in face)
    side = min(math.ceil((right - left) / FACE_SHARE), most)
    return (left + right) / 2 + (0.5 - FACE_ACROSS) * side, (top + bottom) / 2 + (0.5 - FACE_DOWN) * side, side


def _back(across: float, down: float, turns: int, width: int, height: int) -> tuple[float, float]:
    """A point of the picture that `np.rot90` turned so often, in the picture of (height, width) before."""
    return {
        0: (across, down),
        1: (width - down, across),
        2: (width - across, height - down),
        3: (down, height - across),
    }[turns]


def _faces(seen: NDArray[np.uint8]) -> list[Face]:
    """Left, top, right, bottom of the faces in uint8 (H, W), grey."""
    with _LOCK:
        boxes, _, _ = _detector().run(seen, 0, 0.0)
    return [(b.left(), b.top(), b.right() + 1, b.bottom() + 1) for b in boxes]


def _at_working_size(rgb: Pixels) -> tuple[NDArray[np.uint8], float]:
    """The picture that the detector looks at, grey, uint8 (H, W), and how much larger it is than `rgb`."""
    height, width = rgb.shape[:2]
    scale = min(LOOK_AT / max(height, width), MOST_ENLARGED)
    wanted = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(rgb).convert("L").resize(wanted, Image.Resampling.BILINEAR)), scale


_LOCK = threading.Lock()  # a detector keeps the picture that it looks at
_LOADED: list[Any] = []


def _detector() -> Any:
    if not _LOADED:
        import dlib  # 11 MB that only this needs

        _LOADED.append(dlib.get_frontal_face_detector())
    return _LOADED[0]
