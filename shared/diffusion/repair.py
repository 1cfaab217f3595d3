"""Values of a stego that a channel overwrote (salt and pepper, dead pixels, a frame), left out of the reading.

Where the autoencoder is affine it explains its own pictures completely: x = G(E(x)), but for rounding and clipping, and
E has many more numbers to go by than it needs. A broken value stands out of what the rest explains. It is replaced by
what they explain: the least-squares reading of the values that are left (Papoulis, 1975; Gerchberg, 1974), by conjugate
gradients, from the mean colour: what nothing explains any more stays near it.

A stego that nobody touched has no such value, and comes back as it is, bit for bit.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

STEPS = (80.0, 54.0, 32.0, 19.0, 12.0, 10.0)  # grey levels off the explanation: surely broken first, then the rest
SPREADS = 5.0  # noise all over the picture is not what this is for: so many of its deviations off, at least
ITERATIONS = 8  # of the linear equations, for each of the steps
_TINY = 1e-30
LINE = 0.75  # of its length
SQUARE = 4  # pixels


def repaired(explain: Callable[[Tensor], Tensor], levels: Tensor, side: Tensor, drawn: Tensor) -> Tensor:
    """The picture without its broken values.

    Args:
        explain: x -> G(E(x)), idempotent.
        levels: grey levels as read, float64 (B, H, W, 3).
        side: -1 where the file says 0, 1 where it says 255, else 0; (B, H, W, 3). Such a value can be broken if its
            explanation lies within the range: where that lies beyond, the value was clipped, not broken.
        drawn: broken in any case (`overwritten`); (B, H, W, 1).

    Returns:
        float64 (B, H, W, 3); pictures in which no value is broken as given.
    """
    given, damaged = levels, None
    middle, known = levels.mean((1, 2), keepdim=True), torch.ones_like(drawn.expand_as(levels))
    for threshold in STEPS:
        off = given - explain(levels)
        spread = 1.4826 * off.abs().flatten(1).median(1).values.view(-1, 1, 1, 1)  # robust: few values are broken
        broken = drawn | (side * off > (SPREADS * spread).clamp(min=threshold))
        if damaged is None:
            damaged = broken.flatten(1).any(1).view(-1, 1, 1, 1)
        if not damaged.any():
            return given
        start = torch.where(broken & known, middle, torch.where(broken, levels, given))
        known &= ~broken
        levels = torch.where(damaged, _filled(explain, start, (broken & damaged).double()), given)
    return levels


def _filled(explain: Callable[[Tensor], Tensor], levels: Tensor, broken: Tensor) -> Tensor:
    """The levels with those values, `broken` 1, that the explanation of the whole agrees with.

    Conjugate gradients on broken (x - G(E(x))) = 0, which is linear and symmetric where G(E(x)) projects.
    """
    x, explained = levels, explain(levels)
    residual = broken * (explained - x)
    direction, size = residual, _dot(residual, residual)
    for _ in range(ITERATIONS):
        change = explain(x + direction) - explained
        bent = broken * (direction - change)
        step = size / (_dot(direction, bent) + _TINY)
        x, explained, residual = x + step * direction, explained + step * change, residual - step * bent
        size, before = _dot(residual, residual), size
        direction = residual + size / (before + _TINY) * direction
    return x


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).flatten(1).sum(1).view(-1, 1, 1, 1)


def overwritten(pixels: Tensor) -> Tensor:
    """Pixels that a program drew over, whatever their explanation says; bool (B, H, W, 1) of uint8 (B, H, W, 3).

    Rows and columns three quarters of which are exactly one colour, as of a frame: no generated picture has such a
    line, and no compressed one. And squares of pure white or black, as of a sticker or a cut corner: generated pictures
    have such squares of two pixels, seldom of three.
    """
    found = torch.zeros(*pixels.shape[:3], dtype=torch.bool, device=pixels.device)
    for axis in (1, 2):
        same = (pixels.diff(dim=axis) == 0).all(-1)
        found |= same.double().mean(axis, keepdim=True) >= LINE
    for colour in (0, 255):
        found |= _opened((pixels == colour).all(-1))
    return found[..., None]


def _opened(mask: Tensor) -> Tensor:
    """What of a mask, bool (B, H, W), lies in a square of side SQUARE within it (a morphological opening)."""
    squares = -F.max_pool2d(-mask[:, None].double(), SQUARE, 1)
    pad = [SQUARE - 1] * 4
    return F.max_pool2d(F.pad(squares, pad), SQUARE, 1)[:, 0] > 0
