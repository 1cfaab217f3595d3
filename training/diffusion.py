"""Stage `diffusion`: the network eps_theta of the paper on the latents of the `vae` stage, under captions.

The network predicts v = alpha eps - sqrt(1 - alpha^2) z_0 (Salimans and Ho, 2022), which weights noise levels by
min(SNR, 1)-like terms on both sides (their section 4: SNR + 1 weighting). Noise levels are drawn log-normally around
the level where faces take shape (Karras et al., 2022, table 1). Captions are dropped for one picture in ten. The
weights that ship are an exponential moving average.
"""

import copy
import functools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from shared.diffusion.affine import affine_maps
from shared.diffusion.schedule import NoiseSchedule, log_uniform_betas
from training.captions import caption, empty_caption
from training.data import TRAIN_FACES, TRAIN_SCENES, Pictures, load_tars
from training.muon import Muon
from training.runs import Run, Saved, compiled, nothing
from training.vae import unshuffle


@dataclass(frozen=True)
class DiffusionConfig:
    """Size and length of the stage.

    The learning rate falls linearly to zero over `steps`, or over `minutes` of training where that is shorter.
    `start` is a network folder to go on from instead of random weights. One picture in `face_every` is a face. The loss
    of a latent channel is weighted by the grey levels that one unit of it makes, to the power `channel_power`: 0 counts
    every channel alike, 1 spends more on what carries the picture's structure.
    """

    size: int = 128
    widths: tuple[int, ...] = (160, 192)
    heads: int = 4
    norm_groups: int = 32
    sigma_low: float = 0.005
    sigma_high: float = 100.0
    log_sigma_mean: float = 0.6
    log_sigma_std: float = 1.5
    batch: int = 32
    steps: int = 20_000
    minutes: float | None = None
    learning_rate: float = 1.5e-3
    warmup: int = 100
    ema: float = 0.999
    drop_caption: float = 0.1
    face_every: int = 3
    held_out: int = 256
    limit: int | None = None
    start: str = ""
    channel_power: float = 1.0
    report_every: int = 10
    save_every: int = 200


TINY = DiffusionConfig(
    size=32,
    widths=(32, 32),
    heads=2,
    norm_groups=8,
    batch=4,
    steps=4,
    warmup=1,
    held_out=4,
    limit=8,
    report_every=1,
    save_every=2,
)


def build_scheduler(config: DiffusionConfig) -> DDIMScheduler:
    betas = log_uniform_betas(config.sigma_low, config.sigma_high, 1000)
    return DDIMScheduler(
        num_train_timesteps=1000,
        trained_betas=betas.tolist(),
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=0,
        timestep_spacing="linspace",
    )


def build_unet(config: DiffusionConfig, channels: int, grid: int, text_width: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=grid,
        in_channels=channels,
        out_channels=channels,
        cross_attention_dim=text_width,
        block_out_channels=config.widths,
        layers_per_block=1,
        attention_head_dim=config.heads,
        norm_num_groups=config.norm_groups,
        mid_block_type=None,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )


@dataclass
class Latents:
    """All pictures and their mirror images as latents, float16 (2, N, C, h, w), with the metadata."""

    values: Tensor
    data: Pictures
    faces: list[int]
    scenes: list[int]
    held_out: list[int]

    @classmethod
    @torch.no_grad()
    def of(cls, data: Pictures, vae: AutoencoderKL, held_out: int) -> "Latents":
        """Encode everything; the last `held_out` of a fixed shuffle are never drawn by `batch`."""
        patch, lapped = round((vae.config.in_channels / 3) ** 0.5), bool(vae.config.get("lapped"))
        matrix = affine_maps(vae, vae.config.sample_size)[0]  # many times faster than the network that computes it

        def encode(pixels: NDArray[np.uint8]) -> Tensor:
            parts = []
            for start in range(0, len(pixels), 256):
                x = unshuffle(np.ascontiguousarray(pixels[start : start + 256]), patch, lapped=lapped).to(vae.device)
                parts.append((matrix(x) if matrix else vae.encode(x).latent_dist.mean).half().cpu())
            return torch.cat(parts)

        values = torch.stack([encode(data.pixels), encode(data.pixels[:, :, ::-1])])
        order = random.Random(0).sample(range(len(data)), len(data))
        drawn, kept = order[: len(data) - held_out], order[len(data) - held_out :]
        faces = [i for i in drawn if "scene" not in data.records[i]]
        return cls(values, data, faces, [i for i in drawn if "scene" in data.records[i]], kept)

    def batch(self, size: int, drop: float, every: int, rng: random.Random) -> tuple[Tensor, list[str]]:
        """Scenes and every `every`-th a face; z_0 float32 (B, C, h, w), captions, some dropped."""
        chosen = [rng.choice(self.scenes if n % every else self.faces) for n in range(size)]
        z0 = torch.stack([self.values[rng.randrange(2), i] for i in chosen]).float()
        records = [self.data.records[i] for i in chosen]
        texts = [empty_caption(r) if rng.random() < drop else caption(r, rng) for r in records]
        return z0, texts

    def faces_batch(self, size: int, rng: random.Random) -> tuple[Tensor, list[str]]:
        """Faces alone; z_0 float32 (B, C, h, w) and captions."""
        chosen = [rng.choice(self.faces) for _ in range(size)]
        z0 = torch.stack([self.values[rng.randrange(2), i] for i in chosen]).float()
        return z0, [caption(self.data.records[i], rng) for i in chosen]


@torch.no_grad()
def channel_weights(vae: AutoencoderKL, power: float) -> Tensor:
    """(1, C, 1, 1), mean 1: the norm of what one unit of each channel adds to a decoded patch, to that power."""
    channels, side = vae.config.latent_channels, 1
    probes = torch.cat([torch.zeros(1, channels), torch.eye(channels)]).view(-1, channels, side, side)
    decoded = vae.decode(probes.to(vae.device)).sample.flatten(1).cpu()
    weights = (decoded[1:] - decoded[:1]).norm(dim=1) ** power
    normed: Tensor = (weights / weights.mean()).view(1, -1, 1, 1)
    return normed


Target = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]  # z_t, t, sigma (B,), text, v -> v


class Objective:
    """The loss of one batch: mean squared error of v at random noise levels."""

    def __init__(self, config: DiffusionConfig, schedule: NoiseSchedule, vae: AutoencoderKL, device: str) -> None:
        self.config, self.device = config, device
        self.weights = channel_weights(vae, config.channel_power).to(device)
        self.low, self.high = math.log(schedule.sigmas[0]), math.log(schedule.sigmas[-1])
        self.steps = len(schedule.sigmas)

    def __call__(
        self, unet: torch.nn.Module, z0: Tensor, text: Tensor, generator: torch.Generator, target: Target | None = None
    ) -> Tensor:
        """(B,). `target` may put another v in the place of the data's."""
        c, z0 = self.config, z0.to(self.device, memory_format=torch.channels_last)
        n = torch.randn(len(z0), generator=generator) * c.log_sigma_std + c.log_sigma_mean
        log_sigma = n.clamp(self.low, self.high)
        t = (log_sigma - self.low) / (self.high - self.low) * (self.steps - 1)  # log-uniform schedule: linear
        sigma = log_sigma.exp().view(-1, 1, 1, 1).to(self.device)
        alpha = 1 / (1 + sigma**2).sqrt()
        eps = torch.randn(z0.shape, generator=generator).to(z0)
        v, z, t = alpha * eps - alpha * sigma * z0, alpha * z0 + alpha * sigma * eps, t.to(self.device)
        if target is not None:
            v = target(z, t, sigma.flatten(), text, v)
        with torch.autocast(z.device.type, torch.bfloat16):
            predicted: Tensor = unet(z, t, text).sample
        return ((predicted.float() - v).square() * self.weights).mean((1, 2, 3))


class TextTower:
    """Captions -> hidden states (B, 77, D) of the frozen text encoder, as Stable Diffusion computes them."""

    def __init__(self, folder: Path, device: str) -> None:
        self.tokenizer = CLIPTokenizer.from_pretrained(folder)
        self.encoder = CLIPTextModel.from_pretrained(folder).to(device).eval().requires_grad_(False)
        self.device = device

    def ids(self, texts: list[str]) -> Tensor:
        """Token ids int64 (B, 77)."""
        encoded = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        ids: Tensor = encoded.input_ids.to(self.device)
        return ids

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> Tensor:
        hidden: Tensor = self.encoder(self.ids(texts)).last_hidden_state
        return hidden


def optimizers(unet: torch.nn.Module, config: DiffusionConfig) -> list[torch.optim.Optimizer]:
    """Muon for the interior matrices, AdamW for the first and last layer, norms, biases and embeddings."""
    edge = ("conv_in.", "conv_out.", "time_embedding.")
    interior = [p for name, p in unet.named_parameters() if p.ndim >= 2 and not name.startswith(edge)]
    chosen = {id(p) for p in interior}
    rest = [p for p in unet.parameters() if id(p) not in chosen]
    adamw = torch.optim.AdamW(rest, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    return [Muon(interior, lr=config.learning_rate, weight_decay=0.01), adamw]


def train(
    material: Path,
    folder: Path,
    vae_folder: Path,
    clip_folder: Path,
    config: DiffusionConfig,
    *,
    seed: int = 0,
    device: str = "cpu",
    saved: Saved = nothing,
) -> Path:
    """Run the stage; returns the folder `unet/` of the averaged weights. Resumes from the checkpoint.

    Args:
        saved: called after every checkpoint, when `unet/` and `scheduler/` hold the weights so far.
    """
    latents, text, vae = _prepared(material, vae_folder, clip_folder, config, device)
    torch.manual_seed(seed)
    scheduler, run = build_scheduler(config), Run(folder, config, seed=seed)
    scheduler.save_pretrained(folder / "scheduler")
    unet = _network(config, vae, text).to(device, memory_format=torch.channels_last)
    average, steppers = copy.deepcopy(unet).requires_grad_(False), optimizers(unet, config)
    objective = Objective(config, NoiseSchedule.from_config(scheduler.config), vae, device)
    parts = {"unet": unet, "average": average, "optimizers": steppers}
    run.restore_parts(**parts)
    network, examined = compiled(unet, device), functools.partial(held_out_loss, average, objective, latents, text)

    def keep() -> None:
        run.save_parts(**parts)
        average.save_pretrained(folder / "unet")
        run.report(held_out=examined(config))
        saved()

    while (progress := run.progress(config.steps, config.minutes)) < 1:
        rng, generator = random.Random(f"{seed}/{run.step}"), torch.Generator().manual_seed(seed * 2**32 + run.step)
        z0, texts = latents.batch(config.batch, config.drop_caption, config.face_every, rng)
        loss = objective(network, z0, text(texts), generator).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        update(steppers, config.learning_rate * min((run.step + 1) / config.warmup, 1 - progress))
        run.step += 1
        follow(average, unet, min(config.ema, (1 + run.step) / (10 + run.step)))
        if run.step % config.report_every == 0:
            run.report(loss=loss.item())
        if run.due(config.save_every):
            keep()
    keep()
    run.plot()
    return folder / "unet"


def _prepared(
    material: Path, vae_folder: Path, clip_folder: Path, config: DiffusionConfig, device: str
) -> tuple[Latents, TextTower, AutoencoderKL]:
    data = load_tars(material, TRAIN_FACES + TRAIN_SCENES, size=config.size, limit=config.limit)
    vae = AutoencoderKL.from_pretrained(vae_folder, torch_dtype=torch.float32).eval()
    latents = Latents.of(data, vae, config.held_out)
    data.pixels.resize((0,))  # the latents are all that is needed from here on
    return latents, TextTower(clip_folder, device), vae


def _network(config: DiffusionConfig, vae: AutoencoderKL, text: TextTower) -> UNet2DConditionModel:
    """That of `config.start`, or one of random weights."""
    if config.start:
        return UNet2DConditionModel.from_pretrained(config.start, torch_dtype=torch.float32).train()
    return build_unet(config, vae.config.latent_channels, vae.config.sample_size, text.encoder.config.hidden_size)


def update(steppers: list[torch.optim.Optimizer], rate: float) -> None:
    """One step of every optimizer at a learning rate; the gradients are then gone."""
    for stepper in steppers:
        for group in stepper.param_groups:
            group["lr"] = rate
        stepper.step()
        stepper.zero_grad(set_to_none=True)


def follow(average: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    """One step of an exponential moving average of the weights."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


@torch.no_grad()
def held_out_loss(
    unet: torch.nn.Module, objective: Objective, latents: Latents, text: TextTower, config: DiffusionConfig
) -> float:
    """The loss on pictures that training never draws, under fixed captions and noise."""
    chosen, losses = latents.held_out, []
    for i in range(0, len(chosen), config.batch):
        part = chosen[i : i + config.batch]
        rng, generator = random.Random(f"held out {i}"), torch.Generator().manual_seed(i)
        captions = [caption(latents.data.records[n], rng) for n in part]
        losses.append(objective(unet, latents.values[0, part].float(), text(captions), generator))
    return float(torch.cat(losses).mean())
