"""Values of a stego that a channel drove to black or white (salt and pepper, dead pixels), left out of the reading.

Where the autoencoder is affine it explains its own pictures completely: x = G(E(x)), but for rounding and clipping, and
E has many more numbers to go by than it needs. A broken value stands out of what the rest explains. It is replaced by
what they explain, over and over: alternating projections onto {G(z)} and {x that is as given where it is not broken}
(Papoulis, 1975; Gerchberg, 1974), whose limit is the least-squares reading of the values that are left.

A stego that nobody touched has no such value, and comes back as it is, bit for bit.
"""

from collections.abc import Callable

import torch
from torch import Tensor

STEPS = (90.0, 54.0, 32.0, 19.0, 12.0, 10.0)  # grey levels off the explanation: surely broken first, then the rest
SPREADS = 5.0  # noise all over the picture is not what this is for: so many of its deviations off, at least
PROJECTIONS = 8


def repaired(explain: Callable[[Tensor], Tensor], levels: Tensor, side: Tensor) -> Tensor:
    """The picture without its broken values.

    Args:
        explain: x -> G(E(x)), idempotent.
        levels: grey levels as read, float64 (B, H, W, 3).
        side: -1 where the file says 0, 1 where it says 255, else 0; (B, H, W, 3). Only such a value can be broken, and
            only if its explanation lies within the range: where that lies beyond, the value was clipped, not broken.

    Returns:
        float64 (B, H, W, 3); pictures in which no value is broken as given.
    """
    given, damaged = levels, None
    for threshold in STEPS:
        off = given - explain(levels)
        spread = 1.4826 * off.abs().flatten(1).median(1).values.view(-1, 1, 1, 1)  # robust: few values are broken
        broken = side * off > (SPREADS * spread).clamp(min=threshold)
        if damaged is None:
            damaged = broken.flatten(1).any(1).view(-1, 1, 1, 1)
        if not damaged.any():
            return given
        for _ in range(PROJECTIONS):
            levels = torch.where(broken & damaged, explain(levels), given)
    return levels
