"""The pictures and prompts of every measurement: the portrait first, then faces of the material."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.data import SETTING
from shared.imaging import PictureFormat, decode_upload, encode_picture, fit_square

PORTRAIT = Path(__file__).resolve().parents[1] / "examples" / "portrait.jpg"
DISGUISES = ("a glacier under a blue sky", "a dark forest", "a calm sea under a cloudy sky", "a street in a city")

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Faces:
    """uint8 (B, H, W, 3), an identity and a disguise prompt each; `source` says where they come from."""

    pixels: Pixels
    identities: list[str]
    disguises: list[str]
    source: str

    @property
    def nonces(self) -> list[bytes]:
        """One for each, the same in every run: contenders are compared on the same keys. Not for use elsewhere."""
        texts = [f"{number}/{text}" for number, text in enumerate(self.identities)]
        return [hashlib.sha256(text.encode()).digest()[:16] for text in texts]

    def first(self, count: int) -> "Faces":
        """`count` of them, from the start again where there are fewer."""
        order = [i % len(self.pixels) for i in range(count)]
        identities, disguises = [self.identities[i] for i in order], [self.disguises[i] for i in order]
        return Faces(self.pixels[order], identities, disguises, self.source)


def load_faces(count: int, size: int, seed: int = 0) -> Faces:
    """The portrait and count - 1 of the material's eval-faces; without material, other crops of the portrait."""
    portrait = decode_upload(PORTRAIT.read_bytes())
    pictures = [fit_square(portrait, size)]
    if os.environ.get(SETTING):
        from evaluation.data import load_set, pick

        pictures += [s.picture for s in pick(load_set(None, "eval-faces-00.tar", size=size), count - 1, seed)]
        source = "examples/portrait.jpg and eval-faces-00"
    else:
        pictures += [_crop(portrait, number, size) for number in range(1, count)]
        source = f"crops of examples/portrait.jpg ({SETTING} is not set)"
    identities = [f"a photo of a person, blue kettle {77 + number}" for number in range(count)]
    disguises = [DISGUISES[number % len(DISGUISES)] for number in range(count)]
    return Faces(np.stack(pictures[:count]), identities, disguises, source)


def _crop(portrait: Pixels, number: int, size: int) -> Pixels:
    """Mirrored for odd numbers, and ever closer."""
    edge = min(portrait.shape[:2])
    cut = int(edge * 0.04 * number) % (edge // 4)
    part = portrait[cut : edge - cut, cut : edge - cut]
    return fit_square(np.ascontiguousarray(part[:, ::-1] if number % 2 else part), size)


def through_file(pictures: Sequence[Pixels], form: PictureFormat = "png", quality: int = 95) -> Pixels:
    """Each picture written to a file's bytes and read again: what a channel does to a stego."""
    return np.stack([decode_upload(encode_picture(picture, form, quality=quality)) for picture in pictures])
