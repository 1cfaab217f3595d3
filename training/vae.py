"""Stage `vae`: the autoencoder of the embedded model, an `AutoencoderKL` that starts from a closed form.

At 128x128 the 8x8 patches of face photographs have few degrees of freedom: their first 40 principal components give
38.7 dB on unseen faces, 6 dB above a general-purpose learned autoencoder of 32 channels. So the linear code is built
into the network exactly, and training only adds what a linear map cannot do:

* The encoder is the linear map z = S^-1 W^T (u - m): u the 192 numbers of a patch, W its principal directions, S a
  scale per channel. A linear encoder has no surprises: encode(decode(z)) = z for every z, natural or not, and channel
  noise is projected, never amplified.
* The decoder is m + W S z plus a learned residual that lives in the complement of W, where the encoder cannot see it.

`AutoencoderKL` has a GroupNorm and a SiLU before its last convolution. Both are made transparent: a channel is carried
as a pair (z, -z), since silu(z) - silu(-z) = z; and every group holds two pilot channels of +-PILOT, beside which the
content does not change the group's variance (relative error z^2 / PILOT^2 / 2).

The residual's loss: mean squared error + a gradient term (edges, block borders; the perceptual part) + what leaves
0..255 + the error of the latent that the encoder finds again after rounding, noise or JPEG-like quantisation. KL: the
posterior's variance is not learned; it is the variance that 8-bit rounding leaves in a latent.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from shared.diffusion.lapped import lapped_matrix, prefilter
from training.data import TRAIN_FACES, TRAIN_SCENES, load_tars
from training.runs import Run

PILOT = 2048.0  # exact in float16; 2e-6 relative error for a latent of root mean square 4
GROUP = 16  # channels a group: seven pairs and two pilots


@dataclass(frozen=True)
class VaeConfig:
    """Size and length of the stage. `steps` 0 ships the closed form alone."""

    size: int = 128
    patch: int = 8
    channels: int = 40
    lapped: bool = True
    free_groups: int = 2
    every: int = 4  # the closed form is computed from every n-th picture
    batch: int = 16
    steps: int = 0
    learning_rate: float = 5e-4
    gradient_weight: float = 0.5
    range_weight: float = 1.0
    channel_weight: float = 0.1
    kl_weight: float = 1e-6
    limit: int | None = None
    save_every: int = 200


TINY = VaeConfig(size=32, free_groups=1, every=1, batch=4, steps=3, limit=16, save_every=2)


@dataclass(frozen=True)
class PatchBasis:
    """Linear code of p x p patches: W (3p^2, C) orthonormal, S (C,), m (3p^2,), all float64, pictures in -1..1."""

    directions: NDArray[np.float64]
    scale: NDArray[np.float64]
    mean: NDArray[np.float64]


def patches(pixels: NDArray[np.uint8], patch: int, *, lapped: bool) -> NDArray[np.float32]:
    """uint8 (N, H, W, 3) -> float32 (N * H/p * W/p, 3 p^2): the columns of `unshuffle`."""
    parts = [unshuffle(pixels[i : i + 512], patch, lapped=lapped) for i in range(0, len(pixels), 512)]
    return np.concatenate([part.permute(0, 2, 3, 1).reshape(-1, part.shape[1]).numpy() for part in parts])


def principal_basis(
    faces: NDArray[np.uint8],
    scenes: NDArray[np.uint8],
    *,
    patch: int,
    channels: int,
    lapped: bool,
    scene_weight: float = 0.1,
) -> PatchBasis:
    """The first principal directions of face patches, scenes counting a little.

    Scales are the square root of a channel's standard deviation over both kinds: half-way between raw energies (fine
    detail drowned) and whitening (coarse structure no more important than fine detail), mean square 1 over channels.
    """
    f, s = (patches(pixels, patch, lapped=lapped) for pixels in (faces, scenes))
    mean = (f.mean(0, dtype=np.float64) + s.mean(0, dtype=np.float64)) / 2
    _, vectors = np.linalg.eigh(np.cov(f.T) + scene_weight * np.cov(s.T))
    directions = vectors[:, ::-1][:, :channels]
    directions = directions * np.sign(directions[np.abs(directions).argmax(0), np.arange(channels)])
    deviation = np.sqrt((((f - mean) @ directions) ** 2).mean(0) / 2 + (((s - mean) @ directions) ** 2).mean(0) / 2)
    scale = np.sqrt(deviation)
    return PatchBasis(directions, scale * np.sqrt((deviation**2 / scale**2).mean()), mean)


def build(basis: PatchBasis, *, size: int, free_groups: int = 2) -> AutoencoderKL:
    """An `AutoencoderKL` on pixel-unshuffled pictures that computes exactly the linear code of `basis`.

    Args:
        size: pictures are size x size pixels.
        free_groups: groups of GROUP channels left to the decoder's learned residual.
    """
    numbers, channels = basis.directions.shape
    patch = round((numbers / 3) ** 0.5)
    groups = -(-channels // (GROUP // 2 - 1)) + free_groups
    vae = AutoencoderKL(
        in_channels=numbers,
        out_channels=numbers,
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        block_out_channels=(groups * GROUP,),
        layers_per_block=0,
        latent_channels=channels,
        norm_num_groups=groups,
        sample_size=size // patch,
        scaling_factor=1.0,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        force_upcast=True,
    )
    code = basis.directions / basis.scale  # (3p^2, C)
    with torch.no_grad():
        for block in (vae.encoder.mid_block, vae.decoder.mid_block, vae.decoder.up_blocks[0]):
            _silence(block)
        _pairs_in(vae.encoder.conv_in, torch.from_numpy(code.T), torch.from_numpy(-code.T @ basis.mean))
        _pairs_in(vae.decoder.conv_in, torch.eye(channels, dtype=torch.float64), torch.zeros(channels))
        _transparent(vae.encoder.conv_norm_out, channels)
        _transparent(vae.decoder.conv_norm_out, channels)
        _pairs_out(vae.encoder.conv_out, torch.eye(channels, dtype=torch.float64), torch.zeros(channels))
        # log variance of the posterior: one grey level of rounding, uniform over 2/255, seen in each latent
        variance = (2 / 255) ** 2 / 12 / basis.scale**2
        vae.encoder.conv_out.bias[channels:] = torch.from_numpy(np.log(variance))
        synthesis = torch.from_numpy(basis.directions * basis.scale)
        _pairs_out(vae.decoder.conv_out, synthesis, torch.from_numpy(basis.mean))
    return vae.eval()


def pair_channels(channels: int) -> tuple[list[int], list[int], list[int]]:
    """Where latent c lies as +z, where as -z, and which channels are pilots (alternately + and -)."""
    per_group = GROUP // 2 - 1
    plus = [c // per_group * GROUP + 2 * (c % per_group) for c in range(channels)]
    used = -(-channels // per_group)
    pilots = [g * GROUP + GROUP - 2 + i for g in range(used) for i in range(2)]
    return plus, [p + 1 for p in plus], pilots


def _silence(block: torch.nn.Module) -> None:
    for resnet in block.resnets:  # type: ignore[union-attr]
        torch.nn.init.zeros_(resnet.conv2.weight)
        torch.nn.init.zeros_(resnet.conv2.bias)


def _pairs_in(conv: torch.nn.Conv2d, matrix: Tensor, bias: Tensor) -> None:
    """Centre tap `matrix` (C, in) and `bias` (C,) into the pairs; pilots from the bias alone."""
    plus, minus, pilots = pair_channels(len(matrix))
    fixed = max(pilots) + 1  # unused channels of the last group must stay silent: its mean has to be zero
    conv.weight[:fixed] = 0
    conv.bias[:fixed] = 0  # type: ignore[index]
    conv.weight[plus, :, 1, 1], conv.weight[minus, :, 1, 1] = matrix.float(), -matrix.float()
    conv.bias[plus], conv.bias[minus] = bias.float(), -bias.float()  # type: ignore[index]
    conv.bias[pilots] = PILOT * torch.tensor([1.0, -1.0]).repeat(len(pilots) // 2)  # type: ignore[index]


def _transparent(norm: torch.nn.GroupNorm, channels: int) -> None:
    """Undo in every fixed group what its pilots make of the scale: the deviation is PILOT sqrt(2 / GROUP)."""
    plus, minus, pilots = pair_channels(channels)
    norm.weight[plus + minus] = PILOT * (2 / GROUP) ** 0.5
    norm.weight[pilots] = 0


def _pairs_out(conv: torch.nn.Conv2d, matrix: Tensor, bias: Tensor) -> None:
    """out = matrix @ (silu(z) - silu(-z)) + bias in the first rows; further rows and free channels zero."""
    plus, minus, _ = pair_channels(matrix.shape[1])
    rows = len(matrix)
    torch.nn.init.zeros_(conv.weight)
    torch.nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    conv.weight[:rows, plus, 1, 1], conv.weight[:rows, minus, 1, 1] = matrix.float(), -matrix.float()
    conv.bias[:rows] = bias.float()  # type: ignore[index]


def unshuffle(pixels: NDArray[np.uint8], patch: int, *, lapped: bool) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3p^2, H/p, W/p) in -1..1, what the autoencoder takes."""
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    if lapped:
        x = prefilter(x, torch.from_numpy(lapped_matrix(pixels.shape[1], patch)).float())
    return F.pixel_unshuffle(x, patch)


class Residual:
    """What of the decoder may learn: the free channels, and only where the encoder is blind.

    The masks keep the linear code as it was built; `project` takes from the last convolution's free columns the part
    that lies in the encoder's directions.
    """

    def __init__(self, vae: AutoencoderKL, directions: Tensor) -> None:
        decoder, channels = vae.decoder, vae.config.latent_channels
        free = torch.ones(vae.config.block_out_channels[0], dtype=torch.bool)
        free[: max(pair_channels(channels)[2]) + 1] = False
        self.out, self.free = decoder.conv_out, free
        basis = torch.linalg.qr(directions)[0]
        self.complement = torch.eye(len(basis)) - basis @ basis.T
        vae.requires_grad_(False)
        self.parameters: list[torch.nn.Parameter] = []
        for resnet in (*decoder.mid_block.resnets, *decoder.up_blocks[0].resnets):
            _transparent(resnet.norm1, channels)
            self._learn(resnet.conv1.weight, resnet.conv1.bias, resnet.norm2.weight, resnet.norm2.bias)
            self._learn(resnet.conv2.weight, resnet.conv2.bias, rows=free)
        self._learn(decoder.conv_in.weight, decoder.conv_in.bias, rows=free)
        self._learn(decoder.conv_norm_out.weight, decoder.conv_norm_out.bias, rows=free)
        self._learn(decoder.conv_out.weight, columns=free)

    def _learn(
        self, *parameters: torch.nn.Parameter, rows: Tensor | None = None, columns: Tensor | None = None
    ) -> None:
        for p in parameters:
            p.requires_grad_(True)
            mask = torch.ones(p.shape)
            if rows is not None:
                mask[~rows] = 0
            if columns is not None:
                mask[:, ~columns] = 0
            p.register_hook(lambda grad, mask=mask: grad * mask)
            self.parameters.append(p)

    @torch.no_grad()
    def project(self) -> None:
        weight = self.out.weight[:, self.free]
        self.out.weight[:, self.free] = torch.einsum("ij,jkhw->ikhw", self.complement, weight)


def loss(vae: AutoencoderKL, x: Tensor, config: VaeConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """The terms of one batch, weighted; x is float32 (B, 3p^2, h, w) in -1..1."""
    posterior = vae.encode(x).latent_dist
    y = vae.decode(posterior.mean).sample
    picture, drawn = F.pixel_shuffle(x, config.patch), F.pixel_shuffle(y, config.patch)
    edges = sum((picture.diff(dim=d) - drawn.diff(dim=d)).abs().mean() for d in (-1, -2))
    sent = (drawn + torch.randn(drawn.shape, generator=generator) * 10 / 127.5).clamp(-1, 1)
    found = vae.encode(F.pixel_unshuffle(sent, config.patch)).latent_dist.mean
    return {
        "reconstruction": (picture - drawn).square().mean(),
        "gradient": config.gradient_weight * torch.as_tensor(edges),
        "range": config.range_weight * F.relu(drawn.abs() - 1).mean(),
        "channel": config.channel_weight * (found - posterior.mean).square().mean(),
        "kl": config.kl_weight * posterior.kl().mean(),
    }


def train(material: Path, folder: Path, config: VaeConfig, *, seed: int = 0) -> Path:
    """Run the stage; returns the folder `vae/`. Resumes from the checkpoint. float32: the pilots need it."""
    data = load_tars(material, TRAIN_FACES + TRAIN_SCENES, size=config.size, limit=config.limit)
    faces = [i for i, r in enumerate(data.records) if "scene" not in r][:: config.every]
    scenes = [i for i, r in enumerate(data.records) if "scene" in r][:: config.every]
    basis = principal_basis(
        data.pixels[faces], data.pixels[scenes], patch=config.patch, channels=config.channels, lapped=config.lapped
    )
    torch.manual_seed(seed)
    vae, run = build(basis, size=config.size, free_groups=config.free_groups), Run(folder, config, seed=seed)
    if config.steps:
        residual = Residual(vae, torch.from_numpy(basis.directions).float())
        optimizer = torch.optim.Adam(residual.parameters, lr=config.learning_rate)
        run.restore_parts(vae=vae, optimizer=optimizer)
        while run.step < config.steps:
            rng, generator = random.Random(f"{seed}/{run.step}"), torch.Generator().manual_seed(run.step)
            chosen = [rng.choice(faces if n % 2 else scenes) for n in range(config.batch)]
            terms = loss(vae, unshuffle(data.pixels[chosen], config.patch, lapped=config.lapped), config, generator)
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(terms.values())).sum().backward()
            optimizer.step()
            residual.project()
            run.step += 1
            run.report(**{name: value.item() for name, value in terms.items()})
            if run.step % config.save_every == 0 or run.step == config.steps:
                run.save_parts(vae=vae, optimizer=optimizer)
        run.plot()
    vae.register_to_config(lapped=config.lapped)
    vae.save_pretrained(folder / "vae")
    return folder / "vae"
