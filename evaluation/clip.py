"""Does a stego picture show what its disguise prompt says? Asked of an image-text model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.data import Picture
from evaluation.prompts import DISGUISES
from evaluation.runs import Row

Vectors = NDArray[np.float64]
FACE_PROMPTS = ("a photo of a smiling young woman", "a photo of an old man", "a photo of a face")


@dataclass(frozen=True)
class Scorer:
    """Two towers as functions: pictures (B, H, W, 3) uint8, or texts, to unit vectors (B, D)."""

    embed_pictures: Callable[[Picture], Vectors]
    embed_texts: Callable[[Sequence[str]], Vectors]

    def judge(self, pictures: Picture, scenes: Sequence[str], disguises: Sequence[str]) -> list[Row]:
        """For each picture: `score`, the cosine to its disguise prompt; `right_scene`: its scene's prompts
        score best among all scenes'; `scene_not_face`: its prompt scores above every prompt about faces."""
        images = self.embed_pictures(pictures)
        texts = self.embed_texts(disguises)
        faces = images @ self.embed_texts(FACE_PROMPTS).T  # (B, 3)
        names = list(DISGUISES)
        best = np.stack(
            [(images @ self.embed_texts(DISGUISES[name]).T).max(axis=1) for name in names], axis=1
        )
        rows = []
        for i, scene in enumerate(scenes):
            score = float(images[i] @ texts[i])
            right = names[int(best[i].argmax())] == scene
            rows.append(
                {
                    "score": round(score, 5),
                    "right_scene": right,
                    "scene_not_face": bool(score > faces[i].max()),
                }
            )
        return rows
