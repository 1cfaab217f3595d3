"""Stage `rates`: what each channel leaves of a stego's noise, and how many bits the first draw may try (sealed.py).

Stegos of captions of training scenes are drawn from random noise, sent through everything that may happen on each
channel, and read back. `channel_noise` is the mean over them, of the worst that may happen. For each stego the code
words of ever poorer rates are put in the place of its noise, read with the same gain and the same noise besides, until
one decodes.
`channel_start` foretells that rate from the prompt by ridge regression, and adds what nine of ten need beyond it when
each is foretold from the others.
"""

import dataclasses
import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shared.diffusion import sealed
from shared.diffusion.channels import CHANNELS, Channel
from shared.diffusion.drawing import draw, read
from shared.diffusion.keying import from_coordinates, to_coordinates
from shared.diffusion.model import EXTRAS, DiffusionModel
from shared.diffusion.noise_code import KEY_BYTES, STRETCH, NoiseCode, profile_of
from shared.diffusion.schemes import plan_of
from shared.diffusion.walks import HideOptions, disguise_walk, embed_disguise
from training.captions import caption
from training.data import TRAIN_SCENES, load_tars

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RatesConfig:
    """`survive`: share of the stegos that the first draw's rate shall suit. `ridge`: of the regression, in features."""

    size: int = 128
    stegos: int = 96
    batch: int = 8
    survive: float = 0.9
    ridge: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0)
    limit: int | None = 3000


TINY = RatesConfig(size=32, stegos=4, batch=4, limit=8)


def measure(material: Path, pipeline: Path, config: RatesConfig, *, seed: int = 0) -> Path:
    """Run the stage; writes its two fields into the pipeline's `ddsr.json` and returns its path."""
    model, rng = DiffusionModel.load(pipeline), random.Random(seed)
    records = load_tars(material, TRAIN_SCENES[:1], size=config.size, limit=config.limit).records
    prompts = [caption(record, rng) for record in rng.sample(records, config.stegos)]
    numbers = np.random.default_rng(seed)
    found = {name: heard(model, channel, prompts, config.batch, numbers) for name, channel in CHANNELS.items()}
    noise = {name: np.round(profile, 2).tolist() for name, (profile, _) in found.items()}
    model.extras = dataclasses.replace(model.extras, channel_noise=noise, channel_start=None)
    hidden, starts = np.asarray(embed_disguise(model, prompts).mean(1).double()), {}
    for name, (_, readings) in found.items():
        steps = np.array([poorest_step(model, name, each) for each in readings], np.float64)
        constant, weights = foretold(hidden, steps, config.survive, config.ridge)
        starts[name] = np.round([constant, *weights], 3).tolist()
    path = pipeline / EXTRAS
    fields = json.loads(path.read_text()) | {"channel_noise": noise, "channel_start": starts}
    path.write_text(json.dumps(fields, separators=(",", ":")) + "\n")
    return path


def foretold(features: Array, steps: Array, share: float, ridges: Sequence[float]) -> tuple[float, Array]:
    """A linear function of features, (n, D), that reaches the steps, (n,), of `share` of all whom it was not fitted to.

    Ridge regression; of the penalties, relative to the mean variance of a feature, the one whose leave-one-out errors
    are least (closed form: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 7.10.1).

    Returns:
        Constant and weights, (D,).
    """
    centre, middle = features.mean(0), steps.mean()
    x, y = features - centre, steps - middle
    gram = x @ x.T
    fits = [_fit(gram, y, ridge * np.trace(gram) / len(y)) for ridge in ridges]
    dual, errors = min(fits, key=lambda fit: float(np.square(fit[1]).sum()))
    weights = x.T @ dual
    return float(middle - centre @ weights + np.quantile(errors, share)), weights


def _fit(gram: Array, y: Array, penalty: float) -> tuple[Array, Array]:
    """Dual weights and leave-one-out errors, (n,) each, of a ridge regression whose mean is fitted too."""
    dual = np.linalg.solve(gram + penalty * np.eye(len(y)), y)
    hat = np.linalg.solve(gram + penalty * np.eye(len(y)), gram) + 1 / len(y)
    return np.asarray(dual, np.float64), np.asarray((y - gram @ dual) / (1 - np.diag(hat)), np.float64)


@dataclass(frozen=True)
class Reading:
    """How a stego's noise z is read after one thing that may happen: gain z + rest, the gain in coordinates.

    Attributes:
        gain: (N,), the same along each stretch of the stego order. rest: (C, h, w).
    """

    gain: Array
    rest: Array

    @classmethod
    def of(cls, noise: Array, read_back: Array, order: NDArray[np.intp]) -> "Reading":
        """Least squares, stretch by stretch. A gain below one, left in the rest, would pass for less noise."""
        z, y = to_coordinates(noise), to_coordinates(read_back)
        gain = np.empty(len(z))
        for stretch in np.array_split(order, max(1, len(z) // STRETCH)):
            gain[stretch] = z[stretch] @ y[stretch] / (z[stretch] @ z[stretch])
        return cls(gain, read_back - from_coordinates(gain * z, noise.shape))

    def hear(self, noise: Array) -> Array:
        """Another noise, (C, h, w), read alike."""
        return from_coordinates(self.gain * to_coordinates(noise), noise.shape) + self.rest


def heard(
    model: DiffusionModel, channel: Channel, prompts: Sequence[str], batch: int, numbers: np.random.Generator
) -> tuple[Array, list[list[Reading]]]:
    """What a channel does to stegos of prompts.

    Returns:
        The noise along the stego order in decibels, at each place the loudest of what may happen, (stretches,); and of
        each stego a reading for everything that may happen.
    """
    options, order = HideOptions("sealed", channel=channel.name), plan_of(model).stego_order
    sent, back = [], []
    for i in range(0, len(prompts), batch):
        part = prompts[i : i + batch]
        noise = numbers.standard_normal((len(part), *model.latent_shape))
        z0 = disguise_walk(model, options, part, undo=True).latent(torch.from_numpy(noise))
        stegos, contrast = draw(model, z0, model.extras.contrast), model.extras.contrast
        found = []
        for happen in channel.steps.values():
            arrived = np.stack([happen(stego, numbers) for stego in stegos])
            found.append(disguise_walk(model, options, part).noise(read(model, arrived, contrast)).numpy())
        sent.append(noise)
        back.append(np.stack(found, 1))
    z, y = np.concatenate(sent), np.concatenate(back)
    profiles = [profile_of(z, y[:, k], order) for k in range(y.shape[1])]
    return np.max(profiles, 0), [
        [Reading.of(one, each, order) for each in all_] for one, all_ in zip(z, y, strict=True)
    ]


def poorest_step(model: DiffusionModel, channel: str, readings: Sequence[Reading]) -> int:
    """The first rate of a channel whose code words decode under each of the readings."""
    at = list(CHANNELS).index(channel) * sealed.STEPS
    low, high = 0, sealed.STEPS - 1
    while low < high:
        middle = (low + high) // 2
        if survives(model, at + middle, readings):
            high = middle
        else:
            low = middle + 1
    return low


def survives(model: DiffusionModel, index: int, readings: Sequence[Reading]) -> bool:
    rate = sealed.rate_of(model, index)
    if not rate.payload_bytes(int(np.prod(model.latent_shape))):
        return True
    code = NoiseCode(model.latent_shape, plan_of(model).stego_order, rate)
    key, payload = os.urandom(KEY_BYTES), os.urandom(code.payload_bytes)
    noise = code.encode(payload, key)
    return all(code.decode(each.hear(noise), key).payload == payload for each in readings)
