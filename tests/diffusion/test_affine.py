"""Networks that are affine at each position, and those that are not."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from shared.diffusion.affine import affine_maps, affine_of
from shared.diffusion.model import DiffusionModel

CPU = torch.device("cpu")


def _double(network: nn.Module) -> nn.Module:
    return network.double().requires_grad_(False)


def test_a_pointwise_convolution_is_found() -> None:
    torch.manual_seed(0)
    network = _double(nn.Sequential(nn.Conv2d(6, 9, 1), nn.Conv2d(9, 4, 1)))
    x = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    found = affine_of(network, 6, 8, CPU)
    assert found is not None
    torch.testing.assert_close(found(x), network(x))


def test_what_mixes_positions_or_is_not_affine_is_not() -> None:
    torch.manual_seed(0)
    assert affine_of(_double(nn.Conv2d(6, 4, 3, padding=1)), 6, 8, CPU) is None
    assert affine_of(_double(nn.Sequential(nn.Conv2d(6, 4, 1), nn.SiLU())), 6, 8, CPU) is None
    assert affine_of(_double(nn.Conv2d(6, 4, 2, stride=2)), 6, 8, CPU) is None
    assert affine_of(_double(nn.Conv2d(6, 4, 1)), 6, 2, CPU) is None  # too few positions to ask at


def test_an_autoencoder_of_several_blocks_is_left_alone(tiny: DiffusionModel) -> None:
    assert affine_maps(tiny.vae, tiny.latent_shape[1]) == (None, None)


def test_the_embedded_autoencoder_is_its_matrices(embedded: DiffusionModel, portrait: NDArray[np.uint8]) -> None:
    encoder, decoder = affine_maps(embedded.vae, embedded.latent_shape[1])
    assert encoder is not None
    assert decoder is not None
    x = F.pixel_unshuffle(_levels(portrait), embedded.patch)
    with torch.no_grad():
        z = embedded.vae.encode(x).latent_dist.mean
        torch.testing.assert_close(encoder(x).float(), z, rtol=0, atol=2e-5 * float(z.abs().max()))
        torch.testing.assert_close(decoder(z).float(), embedded.vae.decode(z).sample, rtol=0, atol=1e-4)


def _levels(picture: NDArray[np.uint8]) -> Tensor:
    return torch.tensor(picture)[None].permute(0, 3, 1, 2).float() / 127.5 - 1
