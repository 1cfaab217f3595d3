"""Find the one face of a photograph and cut it out. dlib, numpy and Pillow; no torch.

The detector is dlib's own (histograms of oriented gradients, trained on frontal faces); its weights are compiled
into the library. It sees faces from the front or nearly so, and nothing of whose they are.
"""

import math
import threading
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from shared.errors import NoFace, SeveralFaces
from shared.imaging import Pixels, cut_square, fit_square

FaceCrop = Literal["centre", "face", "none"]

LOOK_AT = 1280  # pixels of the longer side that the detector sees; it finds faces of 80 of them and more
MOST_ENLARGED = 2.0
FACE_SHARE = 0.56  # width of the detector's box in a picture such as the embedded model was trained on, and where
FACE_ACROSS, FACE_DOWN = 0.51, 0.57  # its centre lies: medians over 150 of eval-faces
WHAT_TO_DO = "or send `crop=centre` with a picture that is cut already"


@dataclass(frozen=True)
class Box:
    """A square of the upright picture: the corner's pixel, and the side in pixels."""

    left: int
    top: int
    side: int


def fit_picture(rgb: Pixels, size: int, crop: FaceCrop = "centre") -> tuple[Pixels, Box | None]:
    """As `fit_square`, with `face`: the square around the one face, and where it was.

    Raises:
        WrongPictureSize: `none`, and the picture is not size x size.
        NoFace, SeveralFaces: `face`, and there is not exactly one.
    """
    if crop != "face":
        return fit_square(rgb, size, crop), None
    box = face_box(rgb)
    return cut_square(rgb, size, left=box.left, top=box.top, side=box.side), box


def face_box(rgb: Pixels) -> Box:
    """The square around the one face of uint8 (H, W, 3), with a margin for hair, chin and ears.

    It lies inside the picture: near an edge it is moved, in a narrow picture it is smaller.

    Raises:
        NoFace, SeveralFaces: their text says what to do.
    """
    found = find_faces(rgb)
    if not found:
        raise NoFace(f"send a sharper or closer picture that shows the face from the front, {WHAT_TO_DO}")
    if len(found) > 1:
        raise SeveralFaces(f"{len(found)} faces were found; cut the picture to the one to hide, {WHAT_TO_DO}")
    left, top, right, bottom = found[0]
    height, width = rgb.shape[:2]
    side = min(math.ceil((right - left) / FACE_SHARE), height, width)
    across = round((left + right) / 2 + (0.5 - FACE_ACROSS) * side - side / 2)
    down = round((top + bottom) / 2 + (0.5 - FACE_DOWN) * side - side / 2)
    return Box(min(max(across, 0), width - side), min(max(down, 0), height - side), side)


def find_faces(rgb: Pixels) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of every face that the detector is sure of, in pixels of uint8 (H, W, 3)."""
    seen, scale = _at_working_size(rgb)
    with _LOCK:
        boxes, _, _ = _detector().run(seen, 0, 0.0)
    return [(b.left() / scale, b.top() / scale, (b.right() + 1) / scale, (b.bottom() + 1) / scale) for b in boxes]


def _at_working_size(rgb: Pixels) -> tuple[Pixels, float]:
    """The picture that the detector looks at, and how much larger it is than `rgb`.

    Rows and columns are dropped first: another copy of 50 million pixels would take 200 MB.
    """
    longer = max(rgb.shape[:2])
    scale = min(LOOK_AT / longer, MOST_ENLARGED)
    every = max(1, longer // (2 * LOOK_AT))
    thin = np.ascontiguousarray(rgb[::every, ::every])
    height, width = rgb.shape[:2]
    wanted = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(thin).resize(wanted, Image.Resampling.BILINEAR)), scale


_LOCK = threading.Lock()  # a detector keeps the picture that it looks at
_LOADED: list[Any] = []


def _detector() -> Any:
    if not _LOADED:
        import dlib  # 11 MB that only this needs

        _LOADED.append(dlib.get_frontal_face_detector())
    return _LOADED[0]
