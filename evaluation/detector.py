"""A small trained detector: can a network tell stego pictures from plain samples of the same model?

After XuNet (Xu, Wu, Shi, IEEE SPL 23, 2016): a fixed high-pass filter, an absolute value after the first
convolution, tanh early, pooling by means. The plain picture is given beside the residual, since the stego of
a diffusion model may differ anywhere, not in the finest detail only.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, conv2d

from evaluation.data import Picture
from evaluation.metrics import Figure, Fold, area_within, share
from evaluation.runs import Progress, silent

_KV = [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
_BATCH = 16


class SmallXuNet(nn.Module):
    """(B, 3, H, W) in 0..1 -> (B,) logit of "stego"."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.register_buffer("kv", torch.tensor(_KV, dtype=torch.float32).expand(3, 1, 5, 5) / 12)
        self.first = nn.Conv2d(6, width, 5, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(width)
        groups: list[nn.Module] = []
        for i, kernel in enumerate((5, 1, 1, 1)):
            cin, cout = width << i, width << (i + 1)
            groups += [nn.Conv2d(cin, cout, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(cout)]
            groups += [nn.Tanh() if i == 0 else nn.ReLU()]
            groups += [nn.AvgPool2d(5, 2, 2) if i < 3 else nn.AdaptiveAvgPool2d(1)]
        self.groups = nn.Sequential(*groups)
        self.last = nn.Linear(width << 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.get_buffer("kv")
        residual = conv2d(x * 255, kernel, padding=2, groups=3).clamp(-8, 8) / 4
        x = self.norm(self.first(torch.cat([residual, x - 0.5], 1)).abs()).tanh()
        x = nn.functional.avg_pool2d(x, 5, 2, 2)
        logit: Tensor = self.last(self.groups(x).flatten(1)).squeeze(1)
        return logit


@dataclass(frozen=True)
class Detection:
    """Held-out result of two folds: accuracy (chance .5), mean area under the ROC, and each fold's scores."""

    accuracy: Figure
    auc: float
    folds: tuple[Fold, ...]


def detect(covers: Picture, stegos: Picture, *, seed: int, epochs: int, progress: Progress = silent) -> Detection:
    """Train on one half, judge the other, and the other way round; a pair (cover and stego of one prompt)
    never stands on both sides.

    Args:
        covers, stegos: (N, H, W, 3) each, N >= 8; equal places belong together.
    """
    if len(covers) != len(stegos) or len(covers) < 8:
        raise ValueError("the detector needs at least 8 pairs")
    order = np.random.default_rng(seed).permutation(len(covers))
    folds: list[Fold] = []
    for fold in range(2):
        progress("detector", fold, 2)
        held, kept = order[fold::2], order[1 - fold :: 2]
        net = _train(covers[kept], stegos[kept], seed + fold, epochs)
        folds.append((_judge(net, covers[held]), _judge(net, stegos[held])))
    right = np.concatenate([side for cover, stego in folds for side in (cover < 0, stego >= 0)])
    return Detection(share(right), area_within(folds), tuple(folds))


def _train(covers: Picture, stegos: Picture, seed: int, epochs: int) -> SmallXuNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = SmallXuNet()
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(np.concatenate([covers, stegos])).permute(0, 3, 1, 2).float() / 255
    y = torch.cat([torch.zeros(len(covers)), torch.ones(len(stegos))])
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
    parts = -(-len(x) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=epochs * parts)
    net.train()
    for _ in range(epochs):
        for part in np.array_split(rng.permutation(len(x)), parts):
            batch = _turned(x[torch.from_numpy(part)], rng)
            loss = binary_cross_entropy_with_logits(net(batch), y[torch.from_numpy(part)])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return _settled(net, x)


@torch.no_grad()
def _settled(net: SmallXuNet, x: Tensor) -> SmallXuNet:
    """Statistics of the normalisations measured anew: those kept while training lag behind in a run this short."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over the batches that follow
    for part in torch.split(x[torch.arange(len(x)).view(2, -1).T.flatten()], 64):  # covers and stegos by turns
        net(part)
    return net.eval()


def _turned(batch: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirrored at random: the one change that leaves both a scene and its finest statistics what they are."""
    return batch.flip(3) if rng.random() < 0.5 else batch


@torch.inference_mode()
def _judge(net: SmallXuNet, pictures: Picture) -> NDArray[np.float64]:
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return torch.cat([net(part) for part in torch.split(x, 64)]).numpy().astype(np.float64)
