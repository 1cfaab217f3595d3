"""Does a stego picture show what its disguise prompt says? Asked of an image-text model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPModel, CLIPTokenizer

from evaluation.data import Picture
from evaluation.errors import MaterialMissing
from evaluation.prompts import DISGUISES
from evaluation.runs import Row
from shared.diffusion.clip import load_clip
from shared.errors import ModelError

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
        best = np.stack([(images @ self.embed_texts(DISGUISES[name]).T).max(axis=1) for name in names], axis=1)
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


def load_scorer(model: Path, tokenizer: Path) -> Scorer:
    """A scorer from a CLIP in transformers' layout (as `training.clip` writes it) and its tokenizer's folder.

    Raises:
        MaterialMissing: no such model.
    """
    try:
        clip = CLIPModel.from_pretrained(model).eval().requires_grad_(False)
        words = CLIPTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError):
        raise MaterialMissing("no CLIP model at the given path") from None
    return scorer(clip, words)


def pipeline_scorer(pipeline: Path) -> Scorer | None:
    """The scorer of a pipeline that ships its image-text model, as the embedded one does; else None."""
    try:
        clip = load_clip(pipeline)
    except ModelError:
        return None
    return scorer(clip, CLIPTokenizer.from_pretrained(pipeline / "tokenizer"))


def scorer(clip: CLIPModel, words: CLIPTokenizer) -> Scorer:
    """Pictures enter as -1..1 at their own size, which must be the model's."""

    @torch.inference_mode()
    def pictures(pixels: Picture) -> Vectors:
        x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
        return _unit(clip.get_image_features(x))

    @torch.inference_mode()
    def texts(prompts: Sequence[str]) -> Vectors:
        ids = words(list(prompts), padding="longest", truncation=True, return_tensors="pt").input_ids
        return _unit(clip.get_text_features(ids))

    return Scorer(pictures, texts)


def _unit(features: object) -> Vectors:
    x = getattr(features, "pooler_output", features)
    if not isinstance(x, torch.Tensor):
        raise TypeError("the CLIP model gives no feature tensor")
    vectors: Vectors = torch.nn.functional.normalize(x.double(), dim=-1).numpy()
    return vectors
