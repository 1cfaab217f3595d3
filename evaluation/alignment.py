"""Faces brought to the pose that recognisers were trained on: five landmarks onto the ArcFace template.

The template is that of Deng et al. (CVPR 2019) for 112x112 pixels; larger crops use it enlarged.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.transform import SimilarityTransform, warp

from evaluation.data import Picture
from evaluation.mtcnn import Face, Mtcnn

TEMPLATE_112 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
FACE_FOUND = 0.9  # confidence from which a picture is said to show a face
Landmarks = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What the detector saw in one picture: its best face, or None."""

    face: Face | None

    @property
    def landmarks(self) -> Landmarks | None:
        return None if self.face is None else self.face.landmarks

    @property
    def confidence(self) -> float:
        return 0.0 if self.face is None else self.face.confidence

    @property
    def shows_face(self) -> bool:
        return self.confidence >= FACE_FOUND


class FaceFinder:
    """The most confident face of each picture, by MTCNN."""

    def __init__(self, detector: Mtcnn | None = None, *, batch: int = 16) -> None:
        self._detector = detector or Mtcnn()
        self._batch = batch

    def find(self, pictures: Picture) -> list[Found]:
        """One `Found` for each of (B, H, W, 3) uint8 RGB pictures."""
        found: list[Found] = []
        for start in range(0, len(pictures), self._batch):
            faces = self._detector.detect(pictures[start : start + self._batch])
            found += [Found(max(several, key=lambda face: face.confidence, default=None)) for several in faces]
        return found


def align(picture: Picture, landmarks: Landmarks, edge: int = 112) -> Picture:
    """Crop (edge, edge, 3) uint8 of a picture, its landmarks (5, 2) moved onto the template by the best
    similarity transform (Umeyama, 1991); bilinear; black outside the picture."""
    target = TEMPLATE_112 * (edge / 112)
    transform = SimilarityTransform.from_estimate(target, landmarks)  # from the crop into the picture
    if not transform:
        raise ValueError("five landmarks in one point cannot be aligned")
    crop: NDArray[np.float64] = warp(picture, transform, output_shape=(edge, edge), order=1, preserve_range=True)
    return np.clip(np.rint(crop), 0, 255).astype(np.uint8)
