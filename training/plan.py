"""Stage `plan`: measure what the keyed mixing needs to know about a trained model, and write it to `ddsr.json`.

* mean and deviation of the latents of faces, and of scenes, in each coordinate of the DCT (whitened walks, frames.py);
* what a coordinate of the face's latent is worth: its variance over faces, in grey levels of the picture;
* how well a coordinate of the stego's noise survives: the error that JPEG, noise and rounding leave in it after the
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

from shared.diffusion.drawing import draw
from shared.diffusion.keying import GROUP
from shared.diffusion.model import EXTRAS, DiffusionModel, Extras
from shared.diffusion.pipeline import face_noise, stego_latents, stego_noise
from training.captions import PERSON, caption
from training.data import TRAIN_FACES, TRAIN_SCENES, Pictures, load_tars

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PlanConfig:
    size: int = 128
    face_floor: float = 0.1
    face_depth: float = 5.0
    stego_floor: float = 0.15
    stego_depth: float = 20.0
    face_knee: float = 1.0
    stego_knee: float = 0.5
    contrast: float = 0.75
    guidance: float = 3.0
    guidance_floor: float = 4.0
    guidance_against: str = PERSON
    disguise_prefix: str = "a landscape, "
    temperature: float = 0.7
    temperature_start: float = 0.5
    faces: int = 64
    stegos: int = 32
    jpeg: int = 70
    noise: float = 4.0
    limit: int | None = 3000
    batch: int = 16


TINY = PlanConfig(size=32, faces=4, stegos=4, limit=4, batch=4)


def coordinates(latents: torch.Tensor) -> Array:
    """(B, C, h, w) -> (B, C h w), orthonormal 2-D DCT of each channel."""
    transformed: Array = dctn(latents.numpy(), axes=(-2, -1), norm="ortho").reshape(len(latents), -1)
    return transformed


def moments(model: DiffusionModel, pixels: NDArray[np.uint8]) -> tuple[Array, Array]:
    """Mean and deviation of every coordinate over pictures, (C h w,) each."""
    parts = [coordinates(model.encode(np.ascontiguousarray(pixels[i : i + 256]))) for i in range(0, len(pixels), 256)]
    every = np.concatenate(parts)
    return every.mean(0), np.maximum(every.std(0), 1e-3)


def face_value(model: DiffusionModel, deviation: Array) -> Array:
    """Variance of every coordinate over faces in squared grey levels, (C h w,)."""
    unit = model.decode_levels(torch.zeros(1, *model.latent_shape).double())
    worth = []
    for channel in range(model.latent_shape[0]):  # what one unit of a channel does to the picture
        probe = torch.zeros(1, *model.latent_shape).double()
        probe[0, channel] = 1.0
        worth.append(float((model.decode_levels(probe) - unit).square().sum()) / np.prod(model.latent_shape[1:]))
    value: Array = ((deviation**2).reshape(model.latent_shape) * np.array(worth)[:, None, None]).ravel()
    return value


def rings(values: Array, shape: tuple[int, int, int]) -> Array:
    """Mean over coordinates of one channel and one whole-number radius of the DCT, put back in place."""
    radius = np.hypot(*np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")).round().astype(int).ravel()
    counts = np.bincount(radius)
    smooth = [(np.bincount(radius, row.ravel()) / counts)[radius] for row in values.reshape(shape)]
    return np.concatenate(smooth)


def channel_error(model: DiffusionModel, prompts: list[str], config: PlanConfig, seed: int) -> Array:
    """Mean square error of the stego's noise in every coordinate after the channel, (C h w,)."""
    rng, errors = np.random.default_rng(seed), []
    for i in range(0, len(prompts), config.batch):
        part = prompts[i : i + config.batch]
        noise = rng.standard_normal((len(part), *model.latent_shape))
        stego = draw(model, stego_latents(model, noise, part), config.contrast)
        sent = stego + rng.normal(0, config.noise, stego.shape)
        received = np.stack([_jpeg(p, config.jpeg) for p in sent.round().clip(0, 255).astype(np.uint8)])
        errors.append(coordinates(torch.from_numpy(stego_noise(model, received, part) - noise)) ** 2)
    return rings(np.concatenate(errors).mean(0), model.latent_shape)


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def group_lengths(
    model: DiffusionModel, data: Pictures, order: NDArray[np.intp], config: PlanConfig, seed: int
) -> tuple[Array, Array]:
    """Mean and deviation of log r^2 of each group of `order` over faces, (C h w / GROUP,) each."""
    rng, logs = random.Random(seed), []
    for i in range(0, config.faces, config.batch):
        prompts = [caption(r, rng) for r in data.records[i : i + config.batch]]
        noise = face_noise(model, np.ascontiguousarray(data.pixels[i : i + config.batch]), prompts)
        groups = coordinates(torch.from_numpy(noise))[:, order].reshape(len(noise), -1, GROUP)
        logs.append(np.log((groups**2).sum(-1)))
    every = np.concatenate(logs)
    return every.mean(0), every.std(0, ddof=1)


def measure(material: Path, pipeline: Path, config: PlanConfig, *, seed: int = 0) -> Path:
    """Run the stage; writes `ddsr.json` into the pipeline folder and returns its path."""
    model = DiffusionModel.load(pipeline)
    faces = load_tars(material, TRAIN_FACES[:1], size=config.size, limit=config.limit)
    scenes = load_tars(material, TRAIN_SCENES[:1], size=config.size, limit=config.limit)
    rng = random.Random(seed)
    (face_mean, face_deviation), (stego_mean, stego_deviation) = (
        moments(model, data.pixels) for data in (faces, scenes)
    )
    value = face_value(model, face_deviation)
    face_order = np.argsort(-rings(value, model.latent_shape), kind="stable")
    settings = {f.name: getattr(config, f.name) for f in dataclasses.fields(Extras) if hasattr(config, f.name)}
    extras = Extras(
        **settings,
        face_mean=_digits(face_mean),
        face_deviation=_digits(face_deviation),
        stego_mean=_digits(stego_mean),
        stego_deviation=_digits(stego_deviation),
        face_order=face_order.tolist(),
    )
    model.extras = dataclasses.replace(extras, temperature=1.0)  # the order of coordinates must not follow from itself
    error = channel_error(model, [caption(r, rng) for r in scenes.records[: config.stegos]], config, seed)
    model.extras = extras = dataclasses.replace(extras, stego_order=np.argsort(error, kind="stable").tolist())
    mean, deviation = group_lengths(model, faces, face_order, config, seed)
    extras = dataclasses.replace(
        extras,
        radius_mean=_digits(mean),
        radius_deviation=_digits(1.25 * deviation),
    )  # wider: unseen faces, few to estimate from
    path = pipeline / EXTRAS
    path.write_text(json.dumps(dataclasses.asdict(extras), separators=(",", ":")) + "\n")
    return path


def _digits(values: Array) -> list[float]:
    """Four significant digits: the file is read by people and stays small."""
    return [float(f"{value:.4g}") for value in values]
