"""Coordinates in which a walk is taken, and the clock that goes with them.

`Plain` is the paper's: x = z_t / sqrt(alpha_bar), dx / dsigma = eps(x, sigma).

`Whitened` takes out what is known beforehand. Were the latents Gaussian, N(mean, deviation^2) in each coordinate k of
the 2-D DCT, the walk would have a closed form: with r_k(sigma) = sqrt(deviation_k^2 + sigma^2)

    x_k = mean_k + r_k(sigma) w_k,    w constant.

Real latents are not Gaussian, but at high noise nearly so (Wang and Vastola, 2023, "The hidden linear structure in
score-based models"), and only the rest has to be integrated:

    dw_k / dq_k = eps_k - sigma w_k / r_k,    q_k(sigma) = asinh(sigma / deviation_k).

q is the clock, one hand for every coordinate. w at the top of the walk is the noise, of unit variance at any depth; so
a walk need not climb to where the picture has drowned, and the mean and the variance are the same at both ends.
"""

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from shared.diffusion.solvers import Eps, noise_level


class Frame(Protocol):
    """Maps between a latent x at noise level sigma, float64 (B, C, h, w), and the coordinates u of the walk."""

    def enter(self, x: Tensor, sigma: float) -> Tensor: ...

    def leave(self, u: Tensor, sigma: float) -> Tensor: ...

    def clock(self, sigma: float) -> Tensor:
        """The time by which `rate` is du / dt: a number, or one for each coordinate."""
        ...

    def rate(self, eps: Eps) -> Eps:
        """The right-hand side (u, sigma) -> du / dt for a noise predictor eps(x, sigma)."""
        ...

    def noise(self, u: Tensor, sigma: float) -> Tensor:
        """u at the top of the walk -> noise of unit variance in the ideal case, (B, C, h, w)."""
        ...

    def from_noise(self, noise: Tensor, sigma: float) -> Tensor: ...


class Plain:
    """The paper's coordinates."""

    def enter(self, x: Tensor, sigma: float) -> Tensor:
        return x

    def leave(self, u: Tensor, sigma: float) -> Tensor:
        return u

    def clock(self, sigma: float) -> Tensor:
        return noise_level(sigma)

    def rate(self, eps: Eps) -> Eps:
        return eps

    def noise(self, u: Tensor, sigma: float) -> Tensor:
        return u / sigma

    def from_noise(self, noise: Tensor, sigma: float) -> Tensor:
        return noise * sigma


@dataclass(frozen=True)
class Whitened:
    """Coordinates in which a Gaussian would stand still.

    Attributes:
        mean, deviation: of the latents in each DCT coordinate, float64 (C, h, w); deviation > 0.
        temperature: what the noise is multiplied by on its way into the walk, in (0, 1], float64 (C, h, w).
    """

    mean: Tensor
    deviation: Tensor
    temperature: Tensor

    def _radius(self, sigma: float) -> Tensor:
        return (self.deviation**2 + sigma**2).sqrt()

    def enter(self, x: Tensor, sigma: float) -> Tensor:
        return (dct2(x) - self.mean) / self._radius(sigma)

    def leave(self, u: Tensor, sigma: float) -> Tensor:
        return idct2(self.mean + self._radius(sigma) * u)

    def clock(self, sigma: float) -> Tensor:
        reading: Tensor = torch.asinh(sigma / self.deviation)
        return reading

    def rate(self, eps: Eps) -> Eps:
        def residual(u: Tensor, sigma: float) -> Tensor:
            return dct2(eps(self.leave(u, sigma), sigma)) - sigma * u / self._radius(sigma)

        return residual

    def noise(self, u: Tensor, sigma: float) -> Tensor:
        return idct2(u / self.temperature)

    def from_noise(self, noise: Tensor, sigma: float) -> Tensor:
        return dct2(noise) * self.temperature


@cache
def dct_matrix(size: int) -> Tensor:
    """The orthonormal DCT-II as a matrix, float64 (frequency, place); not to be written to."""
    k, n = torch.arange(size, dtype=torch.float64), torch.arange(size, dtype=torch.float64)
    matrix: Tensor = torch.cos(torch.pi * (n[None] + 0.5) * k[:, None] / size) * (2 / size) ** 0.5
    matrix[0] /= 2**0.5
    return matrix


def dct2(x: Tensor) -> Tensor:
    """Orthonormal 2-D DCT of each channel, (B, C, h, w) -> the same shape."""
    rows, columns = dct_matrix(x.shape[-2]).to(x), dct_matrix(x.shape[-1]).to(x)
    transformed: Tensor = rows @ x @ columns.T
    return transformed


def idct2(x: Tensor) -> Tensor:
    """The inverse of `dct2`."""
    rows, columns = dct_matrix(x.shape[-2]).to(x), dct_matrix(x.shape[-1]).to(x)
    values: Tensor = rows.T @ x @ columns
    return values
