"""The detectors on covers whose answer is known."""

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from evaluation import stegexpose
from evaluation.metrics import area_under_roc


@cache
def cover(seed: int, size: int = 128) -> np.ndarray:
    """Correlated noise with a little grain, as a camera's picture."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(size, size, 3)), (8, 8, 0))
    grain = rng.normal(0, 1.5, smooth.shape)
    return np.clip(np.rint(smooth / smooth.std() * 30 + 128 + grain), 0, 255).astype(np.uint8)


@cache
def clean_scores(count: int) -> np.ndarray:
    return np.array([stegexpose.fused(stegexpose.scores(cover(i))) for i in range(count)])


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.25, 0.5])
@pytest.mark.parametrize("name", ["primary-sets", "sample-pairs", "rs-analysis"])
def test_quantitative_detectors_tell_the_rate(name: str, rate: float) -> None:
    rng = np.random.default_rng(7)
    marked = [stegexpose.embed_lsb(cover(i, 192), rate, rng) for i in range(4)]
    planes = [picture[..., c] for picture in marked for c in range(3)]
    estimates = [stegexpose.DETECTORS[name](plane.astype(np.int64)) for plane in planes]
    assert np.mean([e for e in estimates if e is not None]) == pytest.approx(rate, abs=0.03)


def test_full_embedding_is_found_by_every_detector() -> None:
    scores = stegexpose.scores(stegexpose.embed_lsb(cover(1), 1.0, np.random.default_rng(0)))
    assert all(value is None or value > 0.6 for value in scores.values())
    assert scores["chi-square"] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("rate", "at_least"), [(0.05, 0.6), (0.25, 0.95), (0.5, 1.0), (1.0, 1.0)])
def test_fusion_finds_embedding_against_untouched(rate: float, at_least: float) -> None:
    rng = np.random.default_rng(9)
    covers, clean = [cover(i) for i in range(12)], clean_scores(12)
    dirty = np.array([stegexpose.fused(stegexpose.scores(stegexpose.embed_lsb(x, rate, rng))) for x in covers])
    assert area_under_roc(clean, dirty) >= at_least
    if rate >= 0.5:
        assert (dirty > stegexpose.SUSPICIOUS).all()


def test_fusion_leaves_failed_detectors_out() -> None:
    assert stegexpose.fused({"a": 0.4, "b": None, "c": 0.2}) == pytest.approx(0.3)
    assert stegexpose.fused({"a": None}) == 0.0


def test_primary_sets_on_four_pairs_by_hand() -> None:
    # One row 4 5 7 6 6: pairs (4,5) (5,7) (7,6) (6,6). v odd and u<v: (4,5), (5,7) in Y; (7,6) v even, u>v
    # in Y; X empty; W+Z: (4,5), (7,6), (6,6) -> 3. So 1.5 p^2 - 4 p + 3 = 0: no real root.
    assert stegexpose.primary_sets(np.array([[4, 5, 7, 6, 6]])) is None
    # One row 4 6 9: (4,6) v even, u<v: X; (6,9) v odd, u<v: Y; no equal halves: -0 p^2 + (2 - 2) p + 0.
    assert stegexpose.primary_sets(np.array([[4, 6, 9]])) is None
    # One row 2 4 6 7: (2,4) X, (4,6) X, (6,7) Y and W: .5 p^2 + (4 - 3) p - 1 = 0, p = sqrt(3) - 1.
    assert stegexpose.primary_sets(np.array([[2, 4, 6, 7]])) == pytest.approx(np.sqrt(3) - 1)


def test_embedding_changes_half_of_the_chosen_bits_and_nothing_else() -> None:
    x = cover(2)
    y = stegexpose.embed_lsb(x, 0.5, np.random.default_rng(0))
    assert (x != y).mean() == pytest.approx(0.25, abs=0.01)
    assert np.array_equal(x >> 1, y >> 1)
