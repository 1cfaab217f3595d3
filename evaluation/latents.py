"""Pictures that hide nothing, to be told from stegos."""

from collections.abc import Sequence

import numpy as np

from evaluation.data import Picture
from evaluation.degradations import png
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import HideOptions, draw, stego_latents
from shared.diffusion.schemes import SCHEMES


def plain_samples(
    model: DiffusionModel, disguises: Sequence[str], options: HideOptions, names: Sequence[str], seed: int
) -> tuple[Picture, Picture]:
    """Pictures (B, H, W, 3) of the prompts that hide nothing, through a PNG file, drawn in two ways.

    White noise goes down the very path that a stego takes. The noise of a picture depends on the seed and its name
    alone.

    Returns:
        the pictures drawn as a stego of the scheme is (contrast, closed loop), and decoded as any program would.
    """
    draws = [np.random.default_rng([seed, *name.encode()]).normal(size=model.latent_shape) for name in names]
    latents = stego_latents(model, np.stack(draws), disguises, options)
    plain = model.decode(latents)
    drawn = plain if SCHEMES[options.scheme].paper_spacing else draw(model, latents, model.extras.contrast)
    return np.stack([png(picture) for picture in drawn]), np.stack([png(picture) for picture in plain])
