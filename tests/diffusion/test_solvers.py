"""The solvers on a denoiser with a closed form: data N(0, s^2) has eps(x, sigma) = sigma x / (s^2 + sigma^2), and its
exact trajectory is x_b = x_a sqrt((s^2 + b^2) / (s^2 + a^2))."""

import pytest
import torch
from torch import Tensor

from shared.diffusion.schedule import karras_levels
from shared.diffusion.solvers import SOLVERS, Eps, ddim, heun, invert, solver
from shared.errors import InvalidOption, SolverError

S = torch.tensor([0.05, 0.3, 1.0, 3.0], dtype=torch.float64).view(1, 4, 1, 1)


def gaussian(x: Tensor, sigma: float) -> Tensor:
    return sigma * x / (S**2 + sigma**2)


def bent(x: Tensor, sigma: float) -> Tensor:
    """The same with a term that is not linear, so that no cancellation can hide an error."""
    return gaussian(x, sigma) + 0.1 * torch.sin(x / (1 + sigma))


def start(seed: int = 0) -> Tensor:
    return S * torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_ddim_is_equation_4_of_the_paper() -> None:
    a, b = 0.7, 1.1
    x = start()
    alpha_t, alpha_next = 1 / (1 + a**2), 1 / (1 + b**2)  # the paper's alpha is the cumulative product
    z, eps = x * alpha_t**0.5, gaussian(x, a)
    ratio = (alpha_next / alpha_t) ** 0.5
    z_next = ratio * z + ((1 - alpha_next) ** 0.5 - ratio * (1 - alpha_t) ** 0.5) * eps
    torch.testing.assert_close(ddim(x, a, b, gaussian), z_next / alpha_next**0.5, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["ddim-matched", "heun-matched"])
@pytest.mark.parametrize("eps", [gaussian, bent])
@pytest.mark.parametrize("falling", [False, True])
def test_a_matched_pair_retraces_itself(name: str, eps: Eps, falling: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.diffusion.solvers.TOLERANCE", 1e-13)
    levels = karras_levels(0.02, 20.0, 24).tolist()
    levels = levels[::-1] if falling else levels
    end = start() * (1 if falling else 20)
    step = SOLVERS[name].step
    y = end
    for a, b in zip(reversed(levels[:-1]), reversed(levels[1:]), strict=True):
        y = invert(step, y, a, b, eps, tolerance=1e-13)
    back = SOLVERS[name].receive(y, levels, eps, lambda: None)
    assert float((back - end).abs().max()) < 1e-9


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("heun", 2), ("adams-whitened", 2)])
def test_an_explicit_solver_has_its_order(name: str, order: int) -> None:
    x, a, b = start(), 0.05, 10.0
    exact = x * ((S**2 + b**2) / (S**2 + a**2)).sqrt()
    errors = []
    for steps in (40, 80):
        reached = SOLVERS[name].receive(x, karras_levels(a, b, steps).tolist(), gaussian, lambda: None)
        errors.append(float(((reached - exact) / exact).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.25)


def test_the_explicit_second_order_pair_returns_closer_than_the_first_order_pair() -> None:
    levels = karras_levels(0.05, 10.0, 20).tolist()
    distance = {}
    for name in ("ddim", "heun"):
        up = SOLVERS[name].send(start(), levels[::-1], bent, lambda: None)
        distance[name] = float((SOLVERS[name].receive(up, levels[::-1], bent, lambda: None) - start()).abs().max())
    assert distance["heun"] < distance["ddim"] / 5


def test_adams_takes_one_evaluation_a_step_and_one_to_begin_with() -> None:
    calls: list[float] = []

    def counted(x: Tensor, sigma: float) -> Tensor:
        calls.append(sigma)
        return gaussian(x, sigma)

    levels = karras_levels(0.05, 10.0, 6).tolist()
    SOLVERS["adams-whitened"].receive(start(), levels, counted, lambda: None)
    assert len(calls) == 7
    assert sorted(set(calls)) == levels[:-1]


def test_heun_takes_two_evaluations_and_ddim_one() -> None:
    calls = []

    def counted(x: Tensor, sigma: float) -> Tensor:
        calls.append(sigma)
        return gaussian(x, sigma)

    ddim(start(), 1.0, 2.0, counted)
    heun(start(), 1.0, 2.0, counted)
    assert calls == [1.0, 1.0, 2.0]


def test_a_step_that_does_not_converge_says_so() -> None:
    with pytest.raises(SolverError):
        invert(ddim, start(), 0.0, 1.0, lambda x, sigma: 5 * x)


def test_an_unknown_solver_is_refused() -> None:
    with pytest.raises(InvalidOption):
        solver("euler")
