"""Noise levels in float64.

    paper    here
    alpha_t  `alpha_bar[t]` (the paper's alpha is the cumulative product)
    -        sigma = sqrt((1 - alpha_bar) / alpha_bar), the noise level of the variance-exploding form

A variance-preserving latent z_t (what the network of Stable Diffusion sees) and the variance-exploding x are the same
trajectory: z_t = sqrt(alpha_bar) x, x = z_0 + sigma eps (Song et al., 2021, DDIM, section 4.3). In x the deterministic
sampler is dx / dsigma = eps_theta, and equations 4, 5, 8 and 9 of the paper become x' = x + (sigma' - sigma) eps_theta.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import ModelError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseSchedule:
    """The discrete schedule that a network was trained on, continued between its timesteps.

    Attributes:
        alpha_bar: float64 (T,), strictly decreasing, within (0, 1).
    """

    alpha_bar: Array

    def __post_init__(self) -> None:
        a = self.alpha_bar
        if a.ndim != 1 or len(a) < 2 or not (a[-1] > 0 and a[0] < 1 and bool(np.all(np.diff(a) < 0))):
            raise ModelError("the noise schedule of the model is not strictly decreasing within (0, 1)")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "NoiseSchedule":
        """From the `scheduler_config.json` of a diffusers pipeline.

        Raises:
            ModelError: a beta schedule that this program does not know.
        """
        if config.get("trained_betas") is not None:
            betas = np.asarray(config["trained_betas"], np.float64)
        else:
            betas = _betas(config)
        if config.get("rescale_betas_zero_snr"):
            raise ModelError("a schedule of zero terminal signal cannot be inverted")
        return cls(np.cumprod(1.0 - betas, dtype=np.float64))

    @property
    def sigmas(self) -> Array:
        """Noise level of every timestep, float64 (T,), increasing."""
        sigmas: Array = np.sqrt((1 - self.alpha_bar) / self.alpha_bar)
        return sigmas

    def timestep(self, sigma: float) -> float:
        """Timestep, possibly fractional, of a noise level; linear in log sigma, held at both ends."""
        log_sigmas = np.log(self.sigmas)
        return float(np.interp(np.log(sigma), log_sigmas, np.arange(len(log_sigmas))))

    def sigma(self, timestep: float) -> float:
        """Noise level of a possibly fractional timestep; the inverse of `timestep`."""
        return float(np.exp(np.interp(timestep, np.arange(len(self.alpha_bar)), np.log(self.sigmas))))


def _betas(config: Mapping[str, Any]) -> Array:
    name, steps = config.get("beta_schedule", "linear"), int(config.get("num_train_timesteps", 1000))
    start, end = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
    if name == "linear":
        return np.linspace(start, end, steps)
    if name == "scaled_linear":
        betas: Array = np.linspace(start**0.5, end**0.5, steps) ** 2
        return betas
    raise ModelError(f"the beta schedule '{name}' is not known")


def log_uniform_betas(low: float, high: float, steps: int) -> Array:
    """Betas, float64 (steps,), of a schedule whose noise levels are uniform in log sigma from `low` to `high`."""
    sigmas = np.exp(np.linspace(np.log(low), np.log(high), steps))
    alpha_bar = 1 / (1 + sigmas**2)
    betas: Array = 1 - alpha_bar / np.concatenate([[1.0], alpha_bar[:-1]])
    return betas


def paper_levels(schedule: NoiseSchedule, steps: int) -> Array:
    """The published spacing: `steps` + 1 timesteps, evenly spread from the first to the last, as noise levels.

    One explicit list for step and inverse alike. float64 (steps + 1,), increasing.
    """
    timesteps = np.linspace(0, len(schedule.alpha_bar) - 1, steps + 1).round().astype(int)
    levels: Array = schedule.sigmas[timesteps]
    return levels


def karras_levels(low: float, high: float, steps: int, rho: float = 7.0) -> Array:
    """Karras et al. (2022), equation 5: denser towards `low`. float64 (steps + 1,), increasing."""
    ramp = np.linspace(0, 1, steps + 1)
    levels: Array = (low ** (1 / rho) + ramp * (high ** (1 / rho) - low ** (1 / rho))) ** rho
    return levels


def asinh_levels(low: float, high: float, steps: int, knee: float) -> Array:
    """Even steps of asinh(sigma / knee): the clock of the whitened walk (frames.py) for latents of deviation `knee`.

    Even in sigma below the knee, even in log sigma above it. float64 (steps + 1,), increasing.
    """
    levels: Array = knee * np.sinh(np.linspace(np.arcsinh(low / knee), np.arcsinh(high / knee), steps + 1))
    return levels
