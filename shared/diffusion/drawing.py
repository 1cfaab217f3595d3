"""Between latents and 8-bit pictures: equations 6 and 7 with the loop through rounding and clipping closed."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.diffusion.model import DiffusionModel
from shared.diffusion.repair import overwritten, repaired

MIDDLE = 127.5  # grey level
DRAW_ITERATIONS = 12


def read(model: DiffusionModel, pixels: NDArray[np.uint8], contrast: float) -> Tensor:
    """Equation 7 for a stego drawn with `contrast`: its latent, float64 (B, C, h, w).

    Where the autoencoder retraces itself, values that the channel overwrote are left out (repair.py).
    """
    pixel = torch.tensor(pixels, device=model.device)
    levels = (pixel.double() - MIDDLE) / contrast + MIDDLE
    if model.exact:
        side = (pixel == 255).double() - (pixel == 0).double()
        levels = repaired(lambda x: model.decode_levels(model.encode_levels(x)), levels, side, overwritten(pixel))
    return model.encode_levels(levels)


def draw(model: DiffusionModel, z0: Tensor, contrast: float, iterations: int = DRAW_ITERATIONS) -> NDArray[np.uint8]:
    """Equation 6 with the loop closed: the 8-bit picture that `read` finds as near z0 as can be.

    A contrast below 1 leaves room beyond white and black. Clipping to 0..255 moves the latent; the missing part is
    drawn again into what room is left, and the picture of the
    smallest residual is kept (alternating projections between {x: E(x) = z0} and the cube of colours). The picture has
    more numbers than the latent, so there is room unless a region is far beyond white or black.

    Args:
        z0: float64 (B, C, h, w).
        contrast: 0..1, of the picture around middle grey.

    Returns:
        uint8 (B, H, W, 3).
    """
    low, high = MIDDLE - MIDDLE / contrast, MIDDLE + MIDDLE / contrast  # what 0 and 255 mean to `read`
    plain = model.decode_levels(z0)
    levels = plain.clamp(low, high)
    best, best_error = levels, torch.full((len(z0),), torch.inf, device=z0.device)
    for _ in range(iterations):
        residual = z0 - model.encode_levels(levels)
        error = residual.square().mean((1, 2, 3)).float()
        better = error < best_error
        best, best_error = torch.where(better[:, None, None, None], levels, best), error.minimum(best_error)
        levels = (levels + model.decode_levels(z0 + residual) - plain).clamp(low, high)
    pixels: NDArray[np.uint8] = ((best - MIDDLE) * contrast + MIDDLE).round().byte().cpu().numpy()
    return pixels
