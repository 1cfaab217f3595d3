"""The network open to gradients, for the stages that look at the recovered picture."""

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
            v: Tensor = unet((x.float() * alpha).to(memory_format=torch.channels_last), t, text).sample
        return alpha * v.float() + alpha**2 * sigma * x

    return eps
