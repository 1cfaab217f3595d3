"""Known answers of the statistics that judge stegos."""

import numpy as np
import pytest

from evaluation.data import Picture
from evaluation.judges import SceneJudge, told_apart
from evaluation.metrics import frechet, jackknifed, ratio
from evaluation.naturalness import kernel_distance, patch_steps, precision_and_recall, spectrum_slopes


def gaussian(seed: int, count: int = 400, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width))


def noise_with_slope(power: float, count: int = 6, size: int = 64) -> Picture:
    """Pictures whose power falls as frequency to the given power."""
    along = np.fft.fftfreq(size, 1 / size)
    radius = np.maximum(np.hypot(along[:, None], along[None]), 1)
    white = np.fft.fft2(np.random.default_rng(0).normal(size=(count, size, size)))
    planes = np.fft.ifft2(white * radius ** (power / 2)).real
    grey = 128 + 40 * planes / planes.std(axis=(1, 2), keepdims=True)
    return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=3)


def test_distances_of_a_known_shift() -> None:
    first, second = gaussian(0), gaussian(1)
    second[:, 0] += 3
    found = frechet(first, second)
    assert found.value == pytest.approx(9, abs=0.9)  # the squared shift
    assert found.low < 9 < found.high
    assert kernel_distance(first, second) > 2
    assert abs(kernel_distance(first, gaussian(2))) < 0.05
    assert jackknifed(kernel_distance, first, gaussian(2)).low < 0 < jackknifed(kernel_distance, first, second).low


def test_kernel_distance_is_unbiased() -> None:
    values = [kernel_distance(gaussian(2 * i, 20), gaussian(2 * i + 1, 20)) for i in range(200)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0


def test_precision_and_recall_know_what_is_missing() -> None:
    real = gaussian(0)
    for figure in precision_and_recall(real, real.copy()):
        assert figure.value == 1
    for figure in precision_and_recall(real, real + 100):
        assert figure.value == 0
    precision, recall = precision_and_recall(real, gaussian(1) * 0.05)  # all alike, in the middle of the real ones
    assert precision.value > 0.95
    assert recall.value < 0.2


@pytest.mark.parametrize("order", [1, 3])
def test_a_planted_grid_shows_and_only_at_its_own_patch(order: int) -> None:
    pictures = np.random.default_rng(0).integers(90, 110, (12, 64, 64, 3), dtype=np.uint8)
    rough = patch_steps(pictures, 8, order)
    assert ratio(rough.border, rough.inside).value == pytest.approx(1, abs=0.05)
    tile = np.kron((np.indices((8, 8)).sum(0) % 2).astype(np.uint8), np.ones((8, 8), np.uint8)) * 40
    planted = patch_steps(pictures + tile[None, :, :, None], 8, order)
    found = ratio(planted.border, planted.inside)
    assert found.low > 1.5
    if order == 1:  # inside, nothing has changed
        assert planted.inside == pytest.approx(rough.inside, rel=1e-5)
    shifted = np.roll(pictures + tile[None, :, :, None], 4, axis=(1, 2))
    moved = patch_steps(shifted, 8, order)
    assert ratio(moved.border, moved.inside).value < 1


def test_a_ratio_needs_something_below() -> None:
    with pytest.raises(ValueError, match="nothing"):
        ratio([1.0], [0.0])


@pytest.mark.parametrize("power", [-2.0, -3.0])
def test_the_slope_is_that_of_the_spectrum(power: float) -> None:
    assert spectrum_slopes(noise_with_slope(power)).mean() == pytest.approx(power, abs=0.2)


def test_a_classifier_tells_apart_what_differs_and_nothing_else() -> None:
    first, second = gaussian(0, 80), gaussian(1, 80)
    same = told_apart(first, second, 0)
    low, high = same["auc_interval"]
    assert low < 0.5 < high
    second[:, 3] += 4
    other = told_apart(first, second, 0)
    assert other["auc"] > 0.98
    assert other["auc_interval"][0] > 0.9


def test_the_judge_of_scenes_is_tried_on_what_it_did_not_see() -> None:
    vectors, scenes = gaussian(0, 300), ["sea", "forest", "sky"] * 100
    chance = SceneJudge.trained(vectors, scenes, 0)
    assert all(value < 0.75 for value in chance.held_out.values())  # it learned these labels by heart or not at all
    vectors[::3, 0] += 9
    vectors[1::3, 1] += 9
    judge = SceneJudge.trained(vectors, scenes, 0)
    assert set(judge.held_out) == set(scenes)
    assert min(judge.held_out.values()) > 0.9
    assert judge.right(vectors[:6], ["sea", "forest", "sky", "forest", "sea", "sky"]).tolist() == [
        True,
        True,
        True,
        False,
        False,
        True,
    ]
