"""A few drawn "faces", and the material where it can be had."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.alignment import FaceFinder, Found
from evaluation.bench import Bench
from evaluation.calibration import calibrate
from evaluation.data import Picture, Sample
from evaluation.identity import embedded
from evaluation.mtcnn import Face
from evaluation.recognisers import CosineRecogniser, Preprocessing
from shared.diffusion import keying
from shared.diffusion.model import DiffusionModel


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def cheap_stretching(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stretching of keys is slow by design and not what these tests ask about."""
    monkeypatch.setattr(keying, "ARGON2_MEMORY_KIB", 64)


def drawn_samples(count: int, size: int = 32) -> list[Sample]:
    """`count` smooth random pictures, two of each "identity"."""
    samples = []
    for i in range(count):
        own, person = np.random.default_rng(i), np.random.default_rng([1, i // 2])
        y, x = np.mgrid[:size, :size] / size
        waves = [np.sin(2 * np.pi * (x * a + y * b + c)) for a, b, c in person.uniform(0.3, 1.5, (3, 3))]
        picture = 128 + 80 * np.stack(waves, 2) + own.normal(0, 3, (size, size, 3))
        attributes = ["Smiling", "Young"] if i % 4 < 2 else ["Male", "Black_Hair"]
        rgb = np.clip(picture, 0, 255).astype(np.uint8)
        samples.append(Sample(f"{i:06d}.webp", rgb, str(i // 2), {"attributes": attributes}))
    return samples


class CentreFinder(FaceFinder):
    """A boundary stood in for: the tiny model's pictures have no faces, so one is declared in the middle of
    every picture that is not flat."""

    def __init__(self) -> None:
        pass

    def find(self, pictures: Picture) -> list[Found]:
        size = pictures.shape[1]
        marks = np.array([[0.35, 0.4], [0.65, 0.4], [0.5, 0.55], [0.38, 0.72], [0.62, 0.72]]) * size
        face = Face(np.array([0.2, 0.2, 0.8, 0.8]) * size, marks, 0.95)
        return [Found(face if picture.std() > 1 else None) for picture in pictures]


def mean_colours(name: str = "mean-colours") -> CosineRecogniser:
    """A real, if simple, network: the mean colours of the four quarters of the aligned crop."""

    def network(x: np.ndarray) -> np.ndarray:
        quarters = [x[:, :, i : i + 56, j : j + 56].mean((2, 3)) for i in (0, 56) for j in (0, 56)]
        return np.concatenate(quarters, axis=1)

    return CosineRecogniser(name, network, Preprocessing())


@pytest.fixture
def bench(tiny: DiffusionModel, tmp_path: Path) -> Bench:
    faces, finder, recogniser = drawn_samples(8), CentreFinder(), mean_colours()
    calibrations = calibrate(faces, embedded(faces, finder, [recogniser]), [recogniser])
    return Bench(tiny, faces, finder, [recogniser], calibrations, tmp_path, gallery=faces, seed=3, batch=4)


@pytest.fixture(scope="session")
def material() -> Path:
    value = os.environ.get("DDSR_MATERIAL", "")
    if not Path(value, "data").is_dir():
        pytest.skip("DDSR_MATERIAL does not name the folder of data/ and models/")
    return Path(value)
