"""A network that is an affine map of each position, found out by asking it, and replaced by its matrix.

The embedded autoencoder is one (training/vae.py): its convolutions, norms and activations compute W x + b of a patch.
The matrix does the same some 10 to 20 times faster, which matters because `pipeline.draw` runs it dozens of times.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor

TOLERANCE = 1e-3  # of the largest value; the embedded autoencoder stays below 1e-4, a learned one is far above
_SPREAD = 4.0  # standard deviation of the input on which the matrix must agree with the network

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Affine:
    """y = weight x + bias at each position: (B, I, h, w) -> (B, O, h, w), computed and returned in float64."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        b, i, h, w = x.shape
        y = torch.baddbmm(self.bias[None, :, None], self.weight.expand(b, -1, -1), x.double().reshape(b, i, h * w))
        return y.reshape(b, -1, h, w)


def affine_of(network: Network, channels: int, side: int, device: torch.device) -> Affine | None:
    """The affine map that `network`, float64 (B, channels, side, side) -> (B, O, side, side), computes everywhere;
    None when it computes something else, as a random input shows."""
    if channels > side * side:
        return None
    probes = torch.zeros(3, channels, side * side, dtype=torch.float64, device=device)
    impulses = torch.arange(channels, device=device)
    probes[1, impulses, impulses] = 1  # impulse of channel i at position i
    noise = torch.randn(channels, side * side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probes[2] = _SPREAD * noise.to(device)
    x = probes.reshape(3, channels, side, side)
    y = network(x)
    if y.shape[2:] != x.shape[2:]:
        return None
    bias = y[0, :, 0, 0].clone()
    found = Affine(y[1].flatten(1)[:, :channels] - bias[:, None], bias)
    error = (found(x) - y).abs().amax((1, 2, 3))
    return found if bool((error <= TOLERANCE * y.abs().amax((1, 2, 3))).all()) else None


def retraces(encoder: Affine | None, decoder: Affine | None) -> bool:
    """Whether encoder(decoder(z)) = z for every z, to TOLERANCE."""
    if encoder is None or decoder is None:
        return False
    product = encoder.weight @ decoder.weight
    return bool((product - torch.eye(len(product)).to(product)).abs().max() <= TOLERANCE)


@torch.no_grad()
def affine_maps(vae: AutoencoderKL, side: int) -> tuple[Affine | None, Affine | None]:
    """Encoder's mean and decoder of an autoencoder of one block, as far as they are affine. `side` of the latent."""
    if len(vae.config.block_out_channels) != 1:
        return None, None  # neighbouring positions mix
    exact = copy.deepcopy(vae).double()
    return (
        affine_of(lambda x: exact.encode(x).latent_dist.mean, vae.config.in_channels, side, vae.device),
        affine_of(lambda z: exact.decode(z).sample, vae.config.latent_channels, side, vae.device),
    )
