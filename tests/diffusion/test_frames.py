"""Whitened coordinates on data for which the walk has a closed form."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from torch import Tensor

from shared.diffusion.frames import Plain, Whitened, dct2, idct2
from shared.diffusion.schedule import karras_levels
from shared.diffusion.solvers import SOLVERS

GENERATOR = torch.Generator().manual_seed(3)
MEAN = torch.randn(4, 8, 8, generator=GENERATOR, dtype=torch.float64)
DEVIATION = torch.rand(4, 8, 8, generator=GENERATOR, dtype=torch.float64) + 0.1
FRAME = Whitened(MEAN, DEVIATION, torch.full((4, 8, 8), 0.5, dtype=torch.float64))


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """The noise predictor of data N(MEAN, DEVIATION^2) in DCT coordinates."""
    return idct2(sigma * (dct2(x) - MEAN) / (DEVIATION**2 + sigma**2))


def bent(x: Tensor, sigma: float) -> Tensor:
    return gaussian(x, sigma) + 0.1 * torch.sin(x / (1 + sigma))


def latents() -> Tensor:
    return idct2(MEAN + DEVIATION * torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double())


def test_the_transform_is_the_orthonormal_dct() -> None:
    x = latents()
    np.testing.assert_allclose(dct2(x).numpy(), dctn(x.numpy(), axes=(-2, -1), norm="ortho"), atol=1e-12)
    torch.testing.assert_close(idct2(dct2(x)), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("frame", [Plain(), FRAME])
def test_a_frame_undoes_itself(frame: Plain | Whitened) -> None:
    x = latents()
    torch.testing.assert_close(frame.leave(frame.enter(x, 0.7), 0.7), x, rtol=0, atol=1e-12)
    torch.testing.assert_close(frame.noise(frame.from_noise(x, 0.7), 0.7), x, rtol=0, atol=1e-12)


def test_a_gaussian_stands_still_and_lands_where_its_closed_form_does() -> None:
    x = latents()
    u = FRAME.enter(x, 0.05)
    walked = SOLVERS["heun-whitened"].receive(u, [0.05, 20.0], FRAME.rate(gaussian), lambda: None, FRAME.clock)
    torch.testing.assert_close(walked, u, rtol=0, atol=1e-10)  # one step over the whole walk
    exact = idct2(MEAN + (dct2(x) - MEAN) * ((DEVIATION**2 + 400) / (DEVIATION**2 + 0.0025)).sqrt())
    torch.testing.assert_close(FRAME.leave(walked, 20.0), exact, rtol=0, atol=1e-9)


def test_both_frames_walk_the_same_way() -> None:
    """Fine steps of either reach the same point under a predictor that is not linear."""
    levels, heun, x = karras_levels(0.05, 10.0, 400).tolist(), SOLVERS["heun"], latents()
    plain = heun.receive(x, levels, bent, lambda: None)
    u = heun.receive(FRAME.enter(x, 0.05), levels, FRAME.rate(bent), lambda: None, FRAME.clock)
    torch.testing.assert_close(FRAME.leave(u, 10.0), plain, rtol=1e-3, atol=1e-3)
    u = SOLVERS["adams-whitened"].receive(FRAME.enter(x, 0.05), levels, FRAME.rate(bent), lambda: None, FRAME.clock)
    torch.testing.assert_close(FRAME.leave(u, 10.0), plain, rtol=1e-3, atol=1e-3)


def test_the_whitened_walk_returns_closer_at_the_same_cost() -> None:
    levels, heun, x = karras_levels(0.05, 10.0, 6).tolist(), SOLVERS["heun"], latents()
    plain = heun.receive(heun.send(x, levels[::-1], bent, lambda: None), levels[::-1], bent, lambda: None)
    u, rate = FRAME.enter(x, 0.05), FRAME.rate(bent)
    top = heun.send(u, levels[::-1], rate, lambda: None, FRAME.clock)
    back = heun.receive(top, levels[::-1], rate, lambda: None, FRAME.clock)
    assert float((FRAME.leave(back, 0.05) - x).abs().mean()) < float((plain - x).abs().mean()) / 5
