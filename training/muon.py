"""Muon (Jordan et al., 2024): momentum whose matrix is replaced by its nearest orthogonal one.

For weight matrices of the network's interior; about half the steps of AdamW for the same loss on this data. The step
is scaled to the root mean square of AdamW's (Liu et al., 2025: 0.2 sqrt(max(rows, columns))), so that both share one
learning rate. Convolutions count as matrices (out, in * kernel).
"""

from collections.abc import Iterable

import torch
from torch import Tensor


def orthogonalise(matrix: Tensor, iterations: int = 5) -> Tensor:
    """U V^T of `matrix` (rows, columns), nearly: a quintic Newton-Schulz iteration in bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16()
    x = x.T if x.shape[0] > x.shape[1] else x
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    upright: Tensor = x.T if matrix.shape[0] > matrix.shape[1] else x
    return upright.to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of all parameters that have a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                nesterov = p.grad.lerp(state["momentum"], group["momentum"])
                update = orthogonalise(nesterov.reshape(len(p), -1))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.view_as(p), alpha=-group["lr"] * 0.2 * max(update.shape) ** 0.5)
