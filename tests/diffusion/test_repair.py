"""Broken values are found and left out; nothing else changes."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.diffusion.affine import affine_maps, retraces
from shared.diffusion.drawing import MIDDLE, draw, read
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import hide, recover, stego_latents
from shared.diffusion.repair import overwritten, repaired
from shared.diffusion.walks import HideOptions

Picture = NDArray[np.uint8]
NO_LINES = torch.zeros(2, 16, 16, 1, dtype=torch.bool)


def explain(levels: Tensor) -> Tensor:
    """Pictures of 4 numbers a patch of 8 x 8 x 3: a projection, as G(E(x)) is."""
    basis = torch.linalg.qr(torch.randn(192, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    patches = levels.reshape(len(levels), -1, 192)
    return (patches @ basis @ basis.T).reshape(levels.shape)


def picture(noise: float = 0.5) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    clean = explain(torch.randn(2, 16, 16, 3, generator=generator, dtype=torch.float64) * 300)
    return clean + noise * torch.randn(clean.shape, generator=generator, dtype=torch.float64)


def test_broken_values_are_replaced_by_what_the_rest_explains() -> None:
    clean = picture()
    hit = torch.rand(clean.shape[:3], generator=torch.Generator().manual_seed(3)) < 0.02
    hit[1] = False
    broken = torch.where(hit[..., None], 297.0, clean)
    back = repaired(explain, broken, (broken == 297.0).double(), NO_LINES)
    assert hit.sum() > 4
    assert (broken - clean).abs().max() > 200
    assert (explain(back) - explain(clean)).abs().max() < 1.5  # the noise of the values left, in fewer equations
    assert torch.equal(back[1], clean[1])  # the other picture of the batch


def test_an_extreme_value_that_fits_stays() -> None:
    clean = picture()
    assert torch.equal(repaired(explain, clean, torch.ones_like(clean), NO_LINES), clean)


def test_noise_all_over_is_not_taken_for_damage() -> None:
    noisy = picture(noise=40.0)
    assert torch.equal(repaired(explain, noisy, -(noisy < -20).double(), NO_LINES), noisy)


def test_a_value_inside_the_range_is_never_touched() -> None:
    broken = picture()
    broken[0, 3, 3] += 200
    assert torch.equal(repaired(explain, broken, torch.zeros_like(broken), NO_LINES), broken)


def test_a_clipped_value_is_not_broken() -> None:
    clean = picture(noise=0)
    clipped = clean.clamp(max=100)
    assert (clean - clipped).max() > 20
    assert torch.equal(repaired(explain, clipped, (clipped == 100).double(), NO_LINES), clipped)


def test_a_face_comes_back_through_salt_and_pepper(embedded: DiffusionModel, portrait: Picture) -> None:
    prompt, options = ["a woman, blue kettle 77"], HideOptions(steps=6)
    hidden = hide(embedded, portrait[None], prompt, ["a dark forest"], options)[0]
    chance, damaged = np.random.default_rng(0).random(hidden.stego.shape[:2]), hidden.stego.copy()
    damaged[chance < 0.01], damaged[chance < 0.005] = 255, 0

    def error(stego: Picture) -> float:
        back = recover(embedded, stego[None], prompt, [hidden.recipe])[0]
        return float(np.mean((back.astype(float) - portrait) ** 2))

    assert error(damaged) < 2 * error(hidden.stego)  # 3 dB; a plain reading loses 15


def test_an_untouched_stego_is_read_plainly(embedded: DiffusionModel) -> None:
    generator = torch.Generator().manual_seed(0)
    z0 = embedded.encode_levels(picture_of_noise(embedded, generator))
    contrast = embedded.extras.contrast
    pixels = draw(embedded, z0, contrast)
    plain = embedded.encode_levels((torch.tensor(pixels).double() - 127.5) / contrast + 127.5)
    assert ((pixels == 0) | (pixels == 255)).any()
    assert torch.equal(read(embedded, pixels, contrast), plain)


def picture_of_noise(model: DiffusionModel, generator: torch.Generator) -> Tensor:
    """Hard contrasts, some beyond black and white."""
    coarse = torch.rand(2, model.image_size // 16, model.image_size // 16, 3, generator=generator).double()
    return coarse.repeat_interleave(16, 1).repeat_interleave(16, 2) * 340 - 42


def test_only_an_autoencoder_that_retraces_itself_is_trusted(tiny: DiffusionModel, embedded: DiffusionModel) -> None:
    encoder, decoder = affine_maps(embedded.vae, 16)
    assert embedded.exact
    assert retraces(encoder, decoder)
    assert encoder is not None
    assert not retraces(dataclasses.replace(encoder, weight=encoder.weight * 1.01), decoder)
    assert not retraces(encoder, None)
    assert tiny.exact == retraces(*affine_maps(tiny.vae, tiny.latent_shape[1]))


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 30, 30)])
def test_a_frame_that_somebody_drew_is_read_past(embedded: DiffusionModel, colour: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(7).standard_normal((1, *embedded.latent_shape))
    stego = draw(embedded, stego_latents(embedded, noise, ["a forest"]), embedded.extras.contrast)
    framed = stego.copy()
    framed[:, 0] = framed[:, -1] = framed[:, :, 0] = framed[:, :, -1] = colour
    assert int(overwritten(torch.tensor(framed)).sum()) == 4 * (embedded.image_size - 1)
    assert not overwritten(torch.tensor(stego)).any()
    clean, past = (read(embedded, picture, embedded.extras.contrast) for picture in (stego, framed))
    plain = embedded.encode_levels((torch.tensor(framed).double() - MIDDLE) / embedded.extras.contrast + MIDDLE)
    assert (past - clean).square().mean() < 0.25 * (plain - clean).square().mean()


@pytest.mark.parametrize(("side", "left"), [(4, 0.3), (8, 0.3), (16, 0.5)])
def test_a_corner_that_somebody_cut_is_read_past(embedded: DiffusionModel, side: int, left: float) -> None:
    """What nothing explains, a whole patch, stays near the mean colour in place of white."""
    noise = np.random.default_rng(7).standard_normal((1, *embedded.latent_shape))
    stego = draw(embedded, stego_latents(embedded, noise, ["a mountain"]), embedded.extras.contrast)
    cut = stego.copy()
    cut[:, :side, :side] = 255
    clean, past = (read(embedded, picture, embedded.extras.contrast) for picture in (stego, cut))
    plain = embedded.encode_levels((torch.tensor(cut).double() - MIDDLE) / embedded.extras.contrast + MIDDLE)
    assert (past - clean).square().mean() < left * (plain - clean).square().mean()
