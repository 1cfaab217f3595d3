"""The latent noise behind pictures, and plain samples: what tables need below `hide` and `recover`."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.data import Picture
from evaluation.degradations import png
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import HideOptions, _embed, _levels, _Walker
from shared.diffusion.schemes import SCHEMES
from shared.diffusion.solvers import solver

Noise = NDArray[np.float64]  # (B, C, h, w), unit variance in the ideal case


def _walk(model: DiffusionModel, options: HideOptions) -> tuple[list[float], list[float], _Walker]:
    down, up = _levels(model, SCHEMES[options.scheme], options.resolved_steps)
    return down, up, _Walker(model, None, total=1)


def plain_samples(
    model: DiffusionModel, disguises: Sequence[str], options: HideOptions, names: Sequence[str], seed: int
) -> Picture:
    """Pictures (B, H, W, 3) of the prompts that hide nothing: white noise down the very path that a stego
    takes, through a PNG file. The noise of a picture depends on the seed and its name alone."""
    _, up, walker = _walk(model, options)
    draws = [np.random.default_rng([seed, *name.encode()]).normal(size=model.latent_shape) for name in names]
    noise = torch.from_numpy(np.stack(draws)).to(model.device)
    eps = walker.eps(_embed(model, disguises))
    latents = solver(options.resolved_solver).send(noise * up[-1], up, eps, walker.tick)
    return np.stack([png(picture) for picture in model.decode(latents)])


def noise_of_faces(model: DiffusionModel, faces: Picture, identity: Sequence[str], options: HideOptions) -> Noise:
    """The sender's noise z_T / sigma_T of faces, before any mixing (equation 4)."""
    down, _, walker = _walk(model, options)
    eps = walker.eps(_embed(model, identity))
    noise = solver(options.resolved_solver).send(model.encode(faces), down, eps, walker.tick)
    unit: Noise = (noise / down[0]).cpu().numpy()
    return unit


def noise_of_stegos(model: DiffusionModel, stegos: Picture, disguises: Sequence[str], options: HideOptions) -> Noise:
    """The noise that anybody reads out of a stego picture: the receiver's walk before unmixing (equation
    8)."""
    _, up, walker = _walk(model, options)
    eps = walker.eps(_embed(model, disguises))
    noise = solver(options.resolved_solver).receive(model.encode(stegos), up, eps, walker.tick)
    unit: Noise = (noise / up[-1]).cpu().numpy()
    return unit
