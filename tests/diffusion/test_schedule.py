import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from shared.diffusion.frames import Whitened
from shared.diffusion.schedule import NoiseSchedule, asinh_levels, karras_levels, log_uniform_betas, paper_levels
from shared.errors import ModelError

SD15 = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}


def test_alpha_bar_is_that_of_diffusers() -> None:
    ours = NoiseSchedule.from_config(SD15).alpha_bar
    theirs = DDIMScheduler(**SD15).alphas_cumprod.double().numpy()
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=2e-5)


def test_the_ends_of_stable_diffusion_are_the_published_noise_levels() -> None:
    sigmas = NoiseSchedule.from_config(SD15).sigmas
    assert sigmas[0] == pytest.approx(0.0292, abs=1e-4)
    assert sigmas[-1] == pytest.approx(14.6146, abs=1e-3)


def test_timestep_and_sigma_undo_each_other_between_timesteps() -> None:
    schedule = NoiseSchedule.from_config(SD15)
    for t in (0.0, 0.3, 17.5, 500.0, 998.9, 999.0):
        assert schedule.timestep(schedule.sigma(t)) == pytest.approx(t, abs=1e-9)


def test_paper_levels_are_one_list_of_trained_timesteps_with_both_ends() -> None:
    schedule = NoiseSchedule.from_config(SD15)
    levels = paper_levels(schedule, 60)
    assert len(levels) == 61
    assert set(levels) <= set(schedule.sigmas)
    assert (levels[0], levels[-1]) == (schedule.sigmas[0], schedule.sigmas[-1])
    assert np.all(np.diff(levels) > 0)


def test_karras_levels_against_equation_5() -> None:
    levels = karras_levels(0.002, 80.0, 17)
    i, n = 5, 18  # their index runs from the largest
    expected = (80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert levels[::-1][i] == pytest.approx(expected, rel=1e-12)


def test_asinh_levels_are_even_steps_of_the_whitened_clock() -> None:
    levels, deviation = asinh_levels(0.1, 5.0, 8, 0.5), torch.full((1, 2, 2), 0.5, dtype=torch.float64)
    frame = Whitened(torch.zeros_like(deviation), deviation, torch.ones_like(deviation))
    clock = np.array([float(frame.clock(level)[0, 0, 0]) for level in levels])
    np.testing.assert_allclose(np.diff(clock), np.arcsinh(10) / 8 - np.arcsinh(0.2) / 8, rtol=1e-9)
    assert (levels[0], levels[-1]) == pytest.approx((0.1, 5.0), rel=1e-12)


def test_log_uniform_betas_give_log_uniform_levels() -> None:
    config = {"trained_betas": log_uniform_betas(0.005, 100.0, 1000).tolist()}
    sigmas = NoiseSchedule.from_config(config).sigmas
    np.testing.assert_allclose(np.diff(np.log(sigmas)), np.log(100 / 0.005) / 999, rtol=1e-6)


@pytest.mark.parametrize(
    "config", [{"beta_schedule": "sigmoid"}, {"trained_betas": [0.1, 0.0]}, {"rescale_betas_zero_snr": True}]
)
def test_a_schedule_that_cannot_serve_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        NoiseSchedule.from_config(config)
