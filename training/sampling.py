"""Walks through the network with gradients, for the stages that look at the recovered picture."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from shared.diffusion.model import DiffusionModel
from shared.diffusion.solvers import Eps


def eps_of(model: DiffusionModel, unet: torch.nn.Module, text: Tensor) -> Eps:
    """`DiffusionModel.predict_noise` for v-prediction, in float32 and open to gradients."""

    def eps(x: Tensor, sigma: float) -> Tensor:
        alpha = float((1 + sigma**2) ** -0.5)
        t = torch.full((len(x),), model.schedule.timestep(sigma), device=x.device)
        with torch.autocast(x.device.type, torch.bfloat16):
            v: Tensor = unet((x * alpha).to(memory_format=torch.channels_last), t, text).sample
        return alpha * v.float() + alpha**2 * sigma * x

    return eps


def sample(x: Tensor, levels: Sequence[float], eps: Eps) -> Tensor:
    """The paper's equation 9 along falling levels, first order."""
    for a, b in pairwise(levels):
        x = x + (b - a) * eps(x, a)
    return x
