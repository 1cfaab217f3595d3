"""One step of the deterministic sampler and its inverse. Pure functions; the noise predictor is an argument.

    paper           here
    z_t             x, the variance-exploding latent z_t / sqrt(alpha_bar_t)
    t, t+1, t-1     noise levels `a` (where x is) and `b` (where it goes), float
    eps_theta       `eps(x, sigma)`, any callable; all solvers treat the network as dx / dsigma = eps(x, sigma)

In x, equations 4 and 8 (inversion, b > a) and 5 and 9 (sampling, b < a) of the paper are one formula (schedule.py).
Two ways to make hide and recover undo each other:

* an explicit pair walks up with the same rule as down and is inverse up to the rule's error, O(h^2) for `ddim`,
  O(h^3) for `heun`;
* a matched pair solves the receiver's explicit step for its start, to a tolerance: the receiver retraces the sender's
  walk exactly and pays nothing for it.

The same rules walk in other coordinates (frames.py): there `eps` is the right-hand side, and a clock takes the place of
the noise level as the time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from shared.errors import InvalidOption, SolverError

Eps = Callable[[Tensor, float], Tensor]
Clock = Callable[[float], Tensor]
OnStep = Callable[[], None]

TOLERANCE = 1e-5  # relative change at which an implicit step counts as solved; 8-bit rounding is 100 times that
MAX_ITERATIONS = 60


def noise_level(sigma: float) -> Tensor:
    """The plain clock: float64 ()."""
    return torch.tensor(sigma, dtype=torch.float64)


def ddim(x: Tensor, a: float, b: float, eps: Eps, clock: Clock = noise_level) -> Tensor:
    """x at level b from x at level a, first order: the paper's equations 4, 5, 8, 9. One evaluation.

    x_b = x_a + (b - a) eps(x_a, a)
    """
    return x + (clock(b) - clock(a)) * eps(x, a)


def heun(x: Tensor, a: float, b: float, eps: Eps, clock: Clock = noise_level) -> Tensor:
    """The same, second order: Heun's rule (Karras et al., 2022, algorithm 1, lines 4 to 8). Two evaluations.

    x_b = x_a + (b - a) (eps(x_a, a) + eps(x_a + (b - a) eps(x_a, a), b)) / 2
    """
    h, d = clock(b) - clock(a), eps(x, a)
    return x + h * (d + eps(x + h * d, b)) / 2


def adams(x: Tensor, levels: Sequence[float], eps: Eps, on_step: OnStep, clock: Clock = noise_level) -> Tensor:
    """The walk by the two-step rule of Adams and Bashforth: second order, one evaluation a step. The first is Heun's.

    x_c = x_b + (c - b) (eps_b + (c - b) / (2 (b - a)) (eps_b - eps_a)), for levels a, b, c in turn
    """
    last: tuple[Tensor, Tensor] | None = None  # eps_a, b - a
    for a, b in pairwise(levels):
        on_step()
        h, d = clock(b) - clock(a), eps(x, a)
        slope = (d + eps(x + h * d, b)) / 2 if last is None else d + h / (2 * last[1]) * (d - last[0])
        x, last = x + h * slope, (d, h)
    return x


def invert(
    step: "Step", y: Tensor, a: float, b: float, eps: Eps, clock: Clock = noise_level, *, tolerance: float = TOLERANCE
) -> Tensor:
    """The x with step(x, a, b) = y, by fixed-point iteration x <- x - (step(x) - y) from the explicit guess.

    For `ddim` this is x <- y - (b - a) eps(x, a) (Pan et al., 2023, AIDI; Meiri et al., 2023, fixed-point inversion).

    Raises:
        SolverError: the relative change is still above `tolerance` after MAX_ITERATIONS.
    """
    x = step(y, b, a, eps, clock)
    for _ in range(MAX_ITERATIONS):
        residual = step(x, a, b, eps, clock) - y
        x = x - residual
        if relative(residual, x) <= tolerance:
            return x
    raise SolverError(f"an implicit step from noise level {b:.3g} to {a:.3g} did not converge; take more steps")


def relative(change: Tensor, x: Tensor) -> float:
    """Largest root mean square of `change` over the batch, relative to that of x."""
    dims = tuple(range(1, x.ndim))
    return float((change.square().mean(dims) / x.square().mean(dims)).max().sqrt())


Step = Callable[[Tensor, float, float, Eps, Clock], Tensor]


@dataclass(frozen=True)
class Solver:
    """How the two phases walk.

    Attributes:
        step: the receiver's rule; None is `adams`, which needs the steps before.
        matched: the sender inverts it exactly; otherwise it walks the same rule back.
        whitened: the walk is taken in whitened coordinates (frames.py), to the model's own depth.
    """

    name: str
    step: Step | None
    matched: bool = False
    whitened: bool = False

    def receive(
        self, x: Tensor, levels: Sequence[float], eps: Eps, on_step: OnStep, clock: Clock = noise_level
    ) -> Tensor:
        """Walk from levels[0] to levels[-1] by explicit steps; levels may rise or fall."""
        if self.step is None:
            return adams(x, levels, eps, on_step, clock)
        for a, b in pairwise(levels):
            on_step()
            x = self.step(x, a, b, eps, clock)
        return x

    def send(self, y: Tensor, levels: Sequence[float], eps: Eps, on_step: OnStep, clock: Clock = noise_level) -> Tensor:
        """The start x at levels[0] from which `receive` arrives at y."""
        if self.step is None:
            return adams(y, levels[::-1], eps, on_step, clock)
        for a, b in zip(reversed(levels[:-1]), reversed(levels[1:]), strict=True):
            on_step()
            y = invert(self.step, y, a, b, eps, clock) if self.matched else self.step(y, b, a, eps, clock)
        return y


SOLVERS = {
    s.name: s
    for s in (
        Solver("ddim", ddim),
        Solver("heun", heun),
        Solver("heun-whitened", heun, whitened=True),
        Solver("adams-whitened", None, whitened=True),
        Solver("ddim-matched", ddim, matched=True),
        Solver("heun-matched", heun, matched=True),
    )
}


def solver(name: str) -> Solver:
    """The solver of that name.

    Raises:
        InvalidOption: there is none.
    """
    if name not in SOLVERS:
        raise InvalidOption(f"the solver is one of: {', '.join(SOLVERS)}")
    return SOLVERS[name]
