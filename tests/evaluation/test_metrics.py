"""Figures against hand-computed values and other implementations."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.metrics import roc_auc_score

from evaluation.metrics import (
    area_under_roc,
    frechet,
    frechet_distance,
    mean,
    roc,
    share,
    ssim,
)


def test_ssim_of_two_flat_pictures_is_the_luminance_term() -> None:
    a, b = np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 150, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(a, b) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1), abs=1e-6)
    assert ssim(a, a) == pytest.approx(1.0)


def test_ssim_against_the_formula_written_out() -> None:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    b = np.clip(a.astype(int) + rng.integers(-30, 31, a.shape), 0, 255).astype(np.uint8)

    def channel(x: np.ndarray, y: np.ndarray) -> float:
        def blur(z: np.ndarray) -> np.ndarray:
            return gaussian_filter(z, 1.5, truncate=3.5)

        mx, my = blur(x), blur(y)
        vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        value = ((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
        return float(value[5:-5, 5:-5].mean())

    expected = np.mean([channel(a[..., c].astype(float), b[..., c].astype(float)) for c in range(3)])
    assert ssim(a, b) == pytest.approx(expected, abs=1e-9)


def test_bootstrap_interval_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    figure = mean(values, seed=0)
    error = 1.96 * values.std() / 20
    assert figure.value == pytest.approx(values.mean())
    assert figure.low == pytest.approx(values.mean() - error, abs=0.05)
    assert figure.high == pytest.approx(values.mean() + error, abs=0.05)
    assert mean(values, seed=0) == figure


def test_wilson_interval_of_a_textbook_case() -> None:
    # Wilson without correction for 15 of 20: (.531, .888), Newcombe 1998.
    figure = share([True] * 15 + [False] * 5)
    assert (figure.low, figure.high) == (pytest.approx(0.531, abs=1e-3), pytest.approx(0.888, abs=1e-3))
    certain = share([True] * 20)
    assert certain.high == 1.0
    assert certain.low == pytest.approx(20 / (20 + 1.96**2), abs=1e-3)


def test_nothing_has_no_mean_and_no_share() -> None:
    with pytest.raises(ValueError, match="nothing"):
        mean([])
    with pytest.raises(ValueError, match="nothing"):
        share([])


def test_frechet_distance_in_one_dimension_is_the_closed_form() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(0, 1, (500, 1)), rng.normal(3, 2, (500, 1))
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_against_the_matrix_square_root() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(60, 5)), rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5))
    c1, c2 = np.cov(a.T), np.cov(b.T)
    cross = np.trace(sqrtm(c1 @ c2).real)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c1 + c2) - 2 * cross
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_frechet_interval_is_that_of_repeated_draws() -> None:
    rng = np.random.default_rng(5)

    def draw(mean: float) -> np.ndarray:
        return rng.normal(mean, 1, (200, 3))

    values = np.array([frechet_distance(draw(0), draw(1)) for _ in range(200)])
    figures = [frechet(draw(0), draw(1)) for _ in range(40)]
    width = np.mean([figure.high - figure.low for figure in figures]) / (2 * 1.96)
    assert width == pytest.approx(values.std(), rel=0.3)
    inside = np.mean([figure.low <= values.mean() <= figure.high for figure in figures])
    assert inside > 0.8
    assert frechet(draw(0), draw(0)).low >= 0


def test_roc_against_scikit_learn() -> None:
    rng = np.random.default_rng(4)
    covers, stegos = rng.integers(0, 10, 80) / 10, rng.integers(2, 12, 60) / 10  # with ties
    labels = np.r_[np.zeros(80), np.ones(60)]
    assert area_under_roc(covers, stegos) == pytest.approx(roc_auc_score(labels, np.r_[covers, stegos]))
    false, true = roc(covers, stegos)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
