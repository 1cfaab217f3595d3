"""Stage `plan`: measure what the keyed mixing needs to know about a trained model, and write it to `ddsr.json`.

* what a coordinate of the face's latent is worth: its variance over faces, in grey levels of the picture;
* how well a coordinate of the stego's noise survives: the error that JPEG, noise and rounding leave in z_T after the
  receiver's inversion, averaged over rings of equal channel and frequency;
* the lengths of the face's groups: mean and deviation of log r^2.

Only training pictures are used. The two orders pair the most valuable coordinates with the most reliable ones: the sum
of value times error is then the least that a pairing can reach (rearrangement inequality).
"""

import dataclasses
import io
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from shared.diffusion.keying import GROUP
from shared.diffusion.model import EXTRAS, DiffusionModel, Extras
from shared.diffusion.pipeline import draw, read
from shared.diffusion.schedule import karras_levels
from shared.diffusion.solvers import solver
from training.captions import caption
from training.data import TRAIN_FACES, TRAIN_SCENES, Pictures, load_tars

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PlanConfig:
    size: int = 128
    steps: int = 16
    solver: str = "heun"
    face_floor: float = 0.02
    stego_floor: float = 0.05
    contrast: float = 0.75
    faces: int = 64
    stegos: int = 32
    jpeg: int = 70
    noise: float = 4.0
    limit: int | None = 400
    batch: int = 16


TINY = PlanConfig(size=32, steps=2, faces=4, stegos=4, limit=4, batch=4)


def coordinates(latents: torch.Tensor) -> Array:
    """(B, C, h, w) -> (B, C h w), orthonormal 2-D DCT of each channel."""
    transformed: Array = dctn(latents.numpy(), axes=(-2, -1), norm="ortho").reshape(len(latents), -1)
    return transformed


def face_value(model: DiffusionModel, faces: NDArray[np.uint8]) -> Array:
    """Variance of every coordinate over faces in squared grey levels, (C h w,)."""
    z = model.encode(faces)
    unit = model.decode_levels(torch.zeros(1, *model.latent_shape).double())
    worth = []
    for channel in range(model.latent_shape[0]):  # what one unit of a channel does to the picture
        probe = torch.zeros(1, *model.latent_shape).double()
        probe[0, channel] = 1.0
        worth.append(float((model.decode_levels(probe) - unit).square().sum()) / np.prod(model.latent_shape[1:]))
    variance = coordinates(z).var(0).reshape(model.latent_shape)
    value: Array = (variance * np.array(worth)[:, None, None]).ravel()
    return value


def rings(values: Array, shape: tuple[int, int, int]) -> Array:
    """Mean over coordinates of one channel and one whole-number radius of the DCT, put back in place."""
    radius = np.hypot(*np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")).round().astype(int).ravel()
    counts = np.bincount(radius)
    smooth = [(np.bincount(radius, row.ravel()) / counts)[radius] for row in values.reshape(shape)]
    return np.concatenate(smooth)


def channel_error(model: DiffusionModel, prompts: list[str], config: PlanConfig, seed: int) -> Array:
    """Mean square error of z_T / sigma_T in every coordinate after the channel, (C h w,)."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    levels = karras_levels(config.stego_floor, float(model.schedule.sigmas[-1]), config.steps).tolist()
    errors = []
    for i in range(0, len(prompts), config.batch):
        text = model.embed(prompts[i : i + config.batch])
        zT = torch.randn(len(text), *model.latent_shape, generator=generator, dtype=torch.float64) * levels[-1]

        def eps(x: torch.Tensor, sigma: float, text: torch.Tensor = text) -> torch.Tensor:
            return model.predict_noise(x, sigma, text)

        stego = draw(model, solver(config.solver).send(zT, levels, eps, lambda: None), config.contrast)
        sent = stego + rng.normal(0, config.noise, stego.shape)
        received = np.stack([_jpeg(p, config.jpeg) for p in sent.round().clip(0, 255).astype(np.uint8)])
        found = solver(config.solver).receive(read(model, received, config.contrast), levels, eps, lambda: None)
        errors.append(coordinates((found - zT) / levels[-1]) ** 2)
    return rings(np.concatenate(errors).mean(0), model.latent_shape)


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def group_lengths(
    model: DiffusionModel, data: Pictures, order: NDArray[np.intp], config: PlanConfig, seed: int
) -> tuple[Array, Array]:
    """Mean and deviation of log r^2 of each group of `order` over faces, (C h w / GROUP,) each."""
    rng = random.Random(seed)
    levels = karras_levels(config.face_floor, float(model.schedule.sigmas[-1]), config.steps).tolist()[::-1]
    logs = []
    for i in range(0, config.faces, config.batch):
        text = model.embed([caption(r, rng) for r in data.records[i : i + config.batch]])

        def eps(x: torch.Tensor, sigma: float, text: torch.Tensor = text) -> torch.Tensor:
            return model.predict_noise(x, sigma, text)

        zT = solver(config.solver).send(model.encode(data.pixels[i : i + config.batch]), levels, eps, lambda: None)
        groups = coordinates(zT / levels[0])[:, order].reshape(len(zT), -1, GROUP)
        logs.append(np.log((groups**2).sum(-1)))
    every = np.concatenate(logs)
    return every.mean(0), every.std(0, ddof=1)


def measure(material: Path, pipeline: Path, config: PlanConfig, *, seed: int = 0) -> Path:
    """Run the stage; writes `ddsr.json` into the pipeline folder and returns its path."""
    model = DiffusionModel.load(pipeline)
    faces = load_tars(material, TRAIN_FACES[:1], size=config.size, limit=config.limit)
    scenes = load_tars(material, TRAIN_SCENES[:1], size=config.size, limit=config.stegos)
    rng = random.Random(seed)
    value = face_value(model, faces.pixels)
    error = channel_error(model, [caption(r, rng) for r in scenes.records], config, seed)
    face_order = np.argsort(-rings(value, model.latent_shape), kind="stable")
    stego_order = np.argsort(error, kind="stable")
    mean, deviation = group_lengths(model, faces, face_order, config, seed)
    extras = Extras(
        config.face_floor, config.stego_floor, config.contrast, face_order.tolist(), stego_order.tolist(),
        mean.round(4).tolist(), (1.25 * deviation).round(4).tolist(),  # wider: unseen faces, few to estimate from
    )  # fmt: skip
    path = pipeline / EXTRAS
    path.write_text(json.dumps(dataclasses.asdict(extras), separators=(",", ":")) + "\n")
    return path
