"""Whose face: dlib's 128-d ResNet (King, 2017), with the weights inside the package `face-recognition-models` (CC0).

The package's own code is not imported: it asks for pkg_resources, which newer setuptools no longer has.
"""

import io
import math
import threading
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

MODEL = "Dlib"
METRIC = "euclidean"
THRESHOLD = 0.6  # the model's own: 99.38 % on LFW at this distance (dlib's page of the model)
THRESHOLDS = {METRIC: THRESHOLD, "cosine": 0.07, "euclidean_l2": 0.4}  # the other two are DeepFace's for this model
_EDGE = 640  # pixels of the longer side that the detector looks at
_STEEPNESS = 6.0


class RecogniserMissing(RuntimeError):
    """dlib, or the package with its weights, is not installed."""


class NoPicture(ValueError):
    """The bytes are no picture."""


@dataclass(frozen=True)
class Seen:
    """A face: left, top, right, bottom in pixels; the detector's score; both eyes, its owner's left one first, as x and
    y in pixels; its vector (128,)."""

    box: tuple[int, int, int, int]
    score: float
    eyes: tuple[tuple[int, int], tuple[int, int]]
    vector: NDArray[np.float64]

    @property
    def probability(self) -> float:
        """The detector's score, squeezed into 0..1."""
        return max(0.0, min(1.0, 0.5 + self.score / 2))


class Recogniser:
    """Finds and describes faces. Its methods block; one thread at a time is inside."""

    def __init__(self) -> None:
        folder = _weights()
        try:
            import dlib
        except ImportError:
            raise RecogniserMissing("the package dlib-bin is not installed") from None
        self._dlib: Any = dlib
        self._detect = dlib.get_frontal_face_detector()
        self._points = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
        self._net = dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))
        self._lock = threading.Lock()

    def look(self, picture: bytes) -> Seen | None:
        """The largest face of a picture file; None where there is none. Raises NoPicture."""
        return next(iter(self.faces(picture)), None)

    def faces(self, picture: bytes) -> list[Seen]:
        """Every face of a picture file, the largest first. Raises NoPicture."""
        rgb, scale = _decoded(picture)
        with self._lock:
            boxes, scores, _ = self._detect.run(rgb, 1, 0.0)
            found = sorted(zip(boxes, scores, strict=True), key=lambda pair: -pair[0].area())
            return [self._seen(rgb, scale, box, score) for box, score in found]

    def _seen(self, rgb: NDArray[np.uint8], scale: float, box: Any, score: float) -> Seen:
        points = self._points(rgb, box)
        left, right = (
            (
                round((points.part(i).x + points.part(i + 1).x) / 2 / scale),
                round((points.part(i).y + points.part(i + 1).y) / 2 / scale),
            )
            for i in (0, 2)  # the corners of one eye, then of the other; the fifth point is the nose
        )
        edges = [round(edge / scale) for edge in (box.left(), box.top(), box.right(), box.bottom())]
        vector = np.array(self._net.compute_face_descriptor(rgb, points))
        return Seen((edges[0], edges[1], edges[2], edges[3]), float(score), (left, right), vector)


def distance(first: Seen, second: Seen, metric: str = METRIC) -> float:
    """By one of THRESHOLDS; up to its threshold it is the same person."""
    one, other = first.vector, second.vector
    if metric == "euclidean":
        return float(np.linalg.norm(one - other))
    one, other = one / np.linalg.norm(one), other / np.linalg.norm(other)
    return float(1 - one @ other) if metric == "cosine" else float(np.linalg.norm(one - other))


def similarity(of: float, threshold: float) -> float:
    """A distance as a share, 0..1: one half at the threshold, as CompreFace's."""
    return (math.tanh((threshold - of) * _STEEPNESS) + 1) / 2


def _weights() -> Path:
    spec = find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise RecogniserMissing("the package face-recognition-models is not installed")
    return Path(spec.submodule_search_locations[0]) / "models"


def _decoded(data: bytes) -> tuple[NDArray[np.uint8], float]:
    """uint8 (H, W, 3) of at most _EDGE pixels a side, and by how much it was scaled."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except Exception:
        raise NoPicture("the picture cannot be decoded") from None
    scale = min(1.0, _EDGE / max(upright.size))
    if scale < 1:
        upright = upright.resize((max(1, round(upright.width * scale)), max(1, round(upright.height * scale))))
    return np.array(upright), scale
