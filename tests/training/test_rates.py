"""The first draw's rate, foretold from the prompt."""

import numpy as np

from training.rates import Reading, foretold


def test_what_is_foretold_reaches_the_steps_of_nine_in_ten_others() -> None:
    numbers = np.random.default_rng(0)
    features, weights = numbers.normal(size=(400, 12)), numbers.normal(size=12)
    steps = 20 + features @ weights + numbers.normal(0, 2, 400)
    constant, found = foretold(features[:200], steps[:200], 0.9, (0.01, 0.1, 1.0))
    reached = constant + features[200:] @ found >= steps[200:]
    assert 0.83 < reached.mean() < 0.97
    assert np.corrcoef(features[200:] @ found, features[200:] @ weights)[0, 1] > 0.95


def test_features_that_say_nothing_leave_the_quantile() -> None:
    numbers = np.random.default_rng(1)
    features, steps = numbers.normal(size=(60, 30)), numbers.normal(20, 2, 60)
    constant, found = foretold(features, steps, 0.9, (1e6,))
    assert abs(constant - np.quantile(steps, 0.9)) < 0.3
    assert np.abs(found).max() < 1e-3


def test_a_gain_is_no_noise() -> None:
    """Half the signal lost is half the signal, not a noise that does not go with it."""
    numbers = np.random.default_rng(2)
    z, other, noise = numbers.standard_normal((3, 4, 16, 16))
    reading = Reading.of(z, 0.5 * z + 0.1 * noise, numbers.permutation(z.size))
    assert np.allclose(reading.hear(z), 0.5 * z + 0.1 * noise)
    assert np.square(reading.hear(other) - 0.5 * other).mean() < 0.012
