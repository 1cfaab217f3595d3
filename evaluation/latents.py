"""Pictures that hide nothing, to be told from stegos."""

from collections.abc import Sequence

import numpy as np

from evaluation.data import Picture
from shared.diffusion.channels import png
from shared.diffusion.drawing import draw
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import stego_latents
from shared.diffusion.schemes import SCHEMES
from shared.diffusion.walks import HideOptions

PLAIN = HideOptions("matched", "heun", 20)  # the sampler of Karras et al. (2022), as others run the model


def plain_samples(
    model: DiffusionModel, disguises: Sequence[str], options: HideOptions, names: Sequence[str], seed: int
) -> tuple[Picture, Picture]:
    """Pictures (B, H, W, 3) of the prompts that hide nothing, from white noise, through a PNG file, in two ways.

    The noise of a picture depends on the seed and its name alone.

    Returns:
        covers, which take the very path of a stego (walk, guidance, temperature, contrast, closed loop), and plain
        samples, as another program makes them (PLAIN, decoded at full contrast). Of the paper's scheme the two are one.
    """
    draws = [np.random.default_rng([seed, *name.encode()]).normal(size=model.latent_shape) for name in names]
    noise = np.stack(draws)
    latents = stego_latents(model, noise, disguises, options)
    if SCHEMES[options.scheme].paper_spacing:
        drawn = plain = model.decode(latents)
    else:
        drawn = draw(model, latents, model.extras.contrast)
        plain = model.decode(stego_latents(model, noise, disguises, PLAIN))
    return np.stack([png(picture) for picture in drawn]), np.stack([png(picture) for picture in plain])
