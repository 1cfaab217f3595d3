"""Stage `codec`: the learned codec of faces for payloads of some hundred bytes (`shared/diffusion/codecs/learned.py`).

An autoencoder on patches of 16 px: the principal components of patches, plus what residual convolutions add, before
and after the rounding. Rounded numbers are coded in slices of components, each in phases of positions; a network of
integers (once exported) predicts mean and scale of each from what was coded before (channel-wise and checkerboard
context: Minnen and Singh, 2020; He et al., 2021). One network serves every rate: the rounding step is an input. The
loss of a picture is bits + RATE_WEIGHT / step^2 x squared error.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from shared.diffusion.codecs import learned
from training.data import TRAIN_FACES, load_tars
from training.muon import Muon
from training.runs import Run

PATCH = 16
UNIT = 32.0  # grey levels in one unit of a component: what networks see is near one
RATE_WEIGHT = 6.5
STEPS = (36.0, 320.0)  # smallest and largest rounding step of training, in grey levels
FILE_STEPS = (32.0, 700.0)  # those of the file: beyond, for the poorest channels
LEVELS, BINS = 128, 44  # rounding steps and scales that the file has
PRIOR = 200.0  # symbols for which the logistic distribution counts in a table
EIGHT_BITS = 100_000  # networks' arrays from this size on are stored in int8


@dataclass(frozen=True)
class CodecConfig:
    """Size and length of the stage; `slices` are the ends of the slices of components, `phases` theirs in space.

    `counted`: faces over which symbols are counted for the tables of the range coder.
    """

    size: int = 128
    width: int = 128
    fine: int = 48
    context: int = 64
    slices: tuple[int, ...] = (8, 24, 64, 160)
    phases: tuple[int, ...] = (4, 2, 2, 2)
    encoder_blocks: int = 2
    decoder_blocks: int = 3
    learning_rate: float = 1.5e-3
    batch: int = 16
    minutes: float = 20.0
    steps: int = 10**6
    limit: int | None = None
    half: bool = True
    report_every: int = 20
    save_every: int = 200
    counted: int = 400


TINY = CodecConfig(
    width=8,
    fine=4,
    context=8,
    slices=(4, 12),
    phases=(4, 2),
    encoder_blocks=1,
    decoder_blocks=1,
    batch=4,
    steps=4,
    limit=4,
    half=False,
    report_every=1,
    save_every=4,
    counted=2,
)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias) if self.second.bias is not None else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.second(F.relu(self.first(x)))
        return y


class Codec(nn.Module):
    def __init__(self, config: CodecConfig, components: Tensor, moments: tuple[Tensor, Tensor]) -> None:
        """`components`: (M, 3 * 256) orthonormal; `moments`: mean and deviation (M, grid, grid), in units."""
        super().__init__()
        self.config, count, grid, width = config, config.slices[-1], config.size // PATCH, config.width
        basis = components.reshape(count, 3, PATCH, PATCH)
        self.to_components = nn.Conv2d(3, count, PATCH, PATCH, bias=False)
        self.from_components = nn.ConvTranspose2d(count, 3, PATCH, PATCH, bias=False)
        with torch.no_grad():
            self.to_components.weight.copy_(basis / UNIT)
            self.from_components.weight.copy_(basis * UNIT)
        self.to_components.requires_grad_(False)
        self.from_components.requires_grad_(False)
        self.seen = nn.Conv2d(3, width, PATCH + 8, PATCH, padding=4)
        self.encoder = nn.Sequential(*(Block(width) for _ in range(config.encoder_blocks)))
        self.added = nn.Conv2d(width, count, 1)
        self.heard = nn.Conv2d(count + 1, width, 1)
        self.place = nn.Parameter(torch.zeros(1, width, grid, grid))
        self.decoder = nn.Sequential(*(Block(width) for _ in range(config.decoder_blocks)))
        self.finer = nn.Conv2d(width, 4 * config.fine, 1)
        self.smooth = Block(config.fine)
        self.drawn = nn.ConvTranspose2d(config.fine, 3, PATCH, PATCH // 2, padding=PATCH // 4)
        for layer in (self.added, self.drawn):
            nn.init.zeros_(layer.weight)
        self.contexts = nn.ModuleList()
        start = 0
        for end in config.slices:
            self.contexts.append(Context(end, config.context, moments[0][start:end], moments[1][start:end]))
            start = end

    def analyse(self, x: Tensor) -> Tensor:
        """Pictures in grey levels about 128, (B, 3, S, S) -> components in units, (B, M, grid, grid)."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.half):
            more = self.added(F.relu(self.encoder(F.relu(self.seen(x / 64)))))
        y: Tensor = self.to_components(x) + more.float()
        return y

    def synthesise(self, y: Tensor, step: Tensor) -> Tensor:
        """The inverse, from rounded components and the step (B,) in units."""
        level = torch.log(step)[:, None, None, None].expand(-1, 1, *y.shape[2:])
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.half):
            h = self.decoder(F.relu(self.heard(torch.cat([y, level], 1)) + self.place))
            h = self.smooth(F.relu(F.pixel_shuffle(self.finer(F.relu(h)), 2)))
            more = self.drawn(F.relu(h))
        x: Tensor = self.from_components(y) + 64 * more.float()
        return x

    def code(self, y: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Rounded components (straight-through) and the bits of each picture, (B,)."""
        spread, start = step[:, None, None, None], 0
        known, bits = y.new_zeros(y.shape[0], 0, *y.shape[2:]), y.new_zeros(len(y))
        for context, end, count in zip(self.contexts, self.config.slices, self.config.phases, strict=True):
            here, own = y[:, start:end], torch.zeros_like(y[:, start:end])
            phase_of = phases(y.shape[-1], count)
            for phase in range(count):
                before, now = (phase_of < phase).to(y.dtype), (phase_of == phase).to(y.dtype)
                mean, scale = context(torch.cat([known, own], 1), before, step)
                residual = (here - mean) / spread
                bits = bits + (now * logistic_bits(residual + torch.rand_like(residual) - 0.5, scale / spread)).sum(
                    (1, 2, 3)
                )
                rounded = here + ((residual.round() - residual) * spread).detach()
                own = own + now * rounded
            known, start = torch.cat([known, own], 1), end
        return known, bits


class Context(nn.Module):
    """Mean and scale of a slice's components from all that is known: three 3x3 convolutions and a map of places."""

    def __init__(self, end: int, width: int, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.first = nn.Conv2d(end + 2, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.third = nn.Conv2d(width, 2 * len(mean), 3, padding=1, bias=False)
        nn.init.zeros_(self.third.weight)
        self.place = nn.Parameter(torch.cat([mean, torch.log2(0.55 * deviation)])[None])

    def forward(self, known: Tensor, before: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        shape = (len(known), 1, *known.shape[2:])
        level = torch.log(step)[:, None, None, None].expand(shape)
        h = F.relu(self.first(torch.cat([known, before.expand(shape), level], 1)))
        mean, log_scale = (self.third(F.relu(self.second(h))) + self.place).chunk(2, 1)
        return mean, torch.exp2(log_scale.clamp(-8, 8))


def phases(grid: int, count: int) -> Tensor:
    """Which phase codes a position, (grid, grid): a checkerboard, or, of four, its two halves each in two."""
    row, column = torch.meshgrid(torch.arange(grid) % 2, torch.arange(grid) % 2, indexing="ij")
    odd = (row + column) % 2
    return odd if count == 2 else 2 * odd + row


def logistic_bits(residual: Tensor, scale: Tensor) -> Tensor:
    """Bits of the interval of width one around `residual` under a logistic distribution of mean 0."""
    far = residual.abs()
    mass = torch.sigmoid((0.5 - far) / scale) - torch.sigmoid((-0.5 - far) / scale)
    return -torch.log2(mass.clamp_min(1e-7))


def components_of(pixels: NDArray[np.uint8], config: CodecConfig) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Principal components of patches (M, 768), and the moments of what they give, (M, grid, grid) each, in units."""
    x = torch.from_numpy(pixels[:: max(1, len(pixels) // 4000)]).permute(0, 3, 1, 2).float() - 128
    grid = config.size // PATCH
    patches = F.unfold(x, PATCH, stride=PATCH).transpose(1, 2)
    flat = patches.reshape(-1, patches.shape[-1])
    values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
    basis = vectors[:, values.argsort(descending=True)[: config.slices[-1]]].T.contiguous()
    y = (patches @ basis.T / UNIT).transpose(1, 2).reshape(len(x), -1, grid, grid)
    return basis, (y.mean(0), y.std(0).clamp_min(0.02))


def optimizers(model: Codec, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the convolutions between layers of networks, AdamW for the rest."""
    names = ("encoder", "decoder", "smooth", "second", "heard", "finer", "first")
    inner = [p for n, p in model.named_parameters() if p.ndim == 4 and "place" not in n and any(k in n for k in names)]
    chosen = {id(p) for p in inner}
    rest = [p for p in model.parameters() if id(p) not in chosen and p.requires_grad]
    return [Muon(inner, lr=rate), torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)]


def train(material: Path, folder: Path, config: CodecConfig, *, seed: int = 0) -> Path:
    """Run the stage; returns the file `learned.npz` of the codec. Resumes from the checkpoint."""
    pixels = load_tars(material, TRAIN_FACES, size=config.size, limit=config.limit).pixels
    torch.manual_seed(seed)
    model, run = Codec(config, *components_of(pixels, config)), Run(folder, config, seed=seed)
    steppers = optimizers(model, config.learning_rate)
    if state := run.restore():
        model.load_state_dict(state["model"])
        for stepper, saved in zip(steppers, state["optimizers"], strict=True):
            stepper.load_state_dict(saved)
    generator, losses = np.random.default_rng((seed, run.step)), []
    while run.step < config.steps and (done := run.elapsed() / 60 / config.minutes) < 1:
        rate = config.learning_rate * min(1, (run.step + 1) / 50) * (1 - max(done, run.step / config.steps))
        losses.append(_step(model, steppers, pixels[generator.integers(len(pixels), size=config.batch)], rate))
        run.step += 1
        if run.step % config.report_every == 0:
            run.report(**{k: sum(d[k] for d in losses) / len(losses) for k in losses[0]})
            losses.clear()
        if run.step % config.save_every == 0:
            _save(run, model, steppers)
    _save(run, model, steppers)
    run.plot()
    arrays: dict[str, Any] = dict(export(model, pixels[generator.permutation(len(pixels))]))
    np.savez_compressed(folder / "learned.npz", **arrays)
    return folder / "learned.npz"


def _save(run: Run, model: Codec, steppers: list[torch.optim.Optimizer]) -> None:
    run.save(model=model.state_dict(), optimizers=[s.state_dict() for s in steppers])


def _step(
    model: Codec, steppers: list[torch.optim.Optimizer], pixels: NDArray[np.uint8], rate: float
) -> dict[str, float]:
    """One update; the means of bits, PSNR and loss."""
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 128
    if torch.rand(()) < 0.5:
        x = x.flip(3)
    low, high = (math.log(s / UNIT) for s in STEPS)
    step = torch.exp(low + (high - low) * torch.rand(len(x)))
    y, bits = model.code(model.analyse(x), step)
    error = (model.synthesise(y, step) - x).square().sum((1, 2, 3))
    cost = (bits + RATE_WEIGHT / (step * UNIT) ** 2 * error) * step / 1000
    loss = cost.mean()
    for stepper in steppers:
        stepper.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    for stepper in steppers:
        for group in stepper.param_groups:
            group["lr"] = rate
        stepper.step()
    psnr = 10 * torch.log10(255**2 * x[0].numel() / error.detach())
    return {"loss": float(loss.detach()), "bytes": float(bits.detach().mean() / 8), "psnr": float(psnr.mean())}


def export(model: Codec, faces: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """The arrays of `learned.npz`: contexts as integers, networks as int8 or float16, tables counted over `faces`."""
    steps = np.round(np.geomspace(*FILE_STEPS, LEVELS) / UNIT * learned.ONE)
    arrays: dict[str, NDArray[Any]] = {
        "steps": steps.astype(np.int32),
        "log_steps": _fixed(np.log(steps / learned.ONE), learned.ONE),
        "log2_steps": _fixed(np.log2(steps / learned.ONE), learned.ONE),
        "unit": np.array(UNIT),
        "slices": np.array(model.config.slices),
        "phases": np.array(model.config.phases),
    }
    for name, tensor in model.state_dict().items():
        arrays |= _exported(name, tensor.numpy())
    scales = 2.0 ** (learned.LOWEST + (np.arange(BINS) + 0.5) / learned.BINS_OCTAVE)
    tables = [_logistic(scale, int(np.clip(11 * scale, 3, 127))) for scale in scales]
    arrays |= {"widths": np.array([len(table) for table in tables]), "counts": _whole(tables)}
    for _ in range(2):  # which symbols are worth their bits depends on the tables
        seen = _counted(learned.Model.of(arrays), faces[: model.config.counted])
        arrays["counts"] = _whole([PRIOR * table + counts for table, counts in zip(tables, seen, strict=True)])
    return arrays


def _exported(name: str, array: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """One tensor under the name and in the type of the file."""
    if name.startswith("contexts."):
        stem, kind = name.rsplit(".", 1)
        if kind == "weight":
            return {name: _fixed(array, 1 / learned.SHIFT).astype(np.int16)}
        stem = stem if kind == "bias" else f"{stem}.third"
        return {f"{stem}.offset": _fixed(array.squeeze(), learned.ONE / learned.SHIFT)}
    if name == "from_components.weight":
        return {}
    if name == "to_components.weight":
        return {"float.basis": (array.reshape(len(array), -1) * UNIT).astype(np.float16)}
    if array.size < EIGHT_BITS:
        return {f"float.{name}": array.astype(np.float16)}
    rows = np.abs(array).reshape(len(array), -1).max(1) / 127 + 1e-12
    whole = np.round(array / rows.reshape(-1, *(1,) * (array.ndim - 1)))
    return {f"float.{name}": whole.astype(np.int8), f"scale.float.{name}": rows.astype(np.float32)}


def _fixed(values: NDArray[Any], one: float) -> NDArray[Any]:
    """Raises OverflowError where a weight leaves 16 bits, which training keeps far from."""
    whole = np.round(values.astype(np.float64) * one)
    if one == 1 / learned.SHIFT and np.abs(whole).max() > 32767:
        raise OverflowError("a weight of a context network is too large for the file")
    return whole.astype(np.int32)


def _logistic(scale: float, most: int) -> NDArray[np.float64]:
    """Mass of -most ... most under a logistic distribution rounded to whole numbers."""
    edges = 1 / (1 + np.exp(-(np.arange(-most, most + 2) - 0.5) / scale))
    mass = np.diff(edges)
    table: NDArray[np.float64] = mass / mass.sum()
    return table


def _whole(tables: list[NDArray[np.float64]]) -> NDArray[np.int32]:
    """The tables one after the other, in whole numbers of sum 65,536 each, none of them zero."""
    every = []
    for table in tables:
        counts = 1 + np.floor(table / table.sum() * (65536 - len(table))).astype(np.int32)
        counts[len(counts) // 2] += 65536 - counts.sum()
        every.append(counts)
    return np.concatenate(every)


def _counted(net: learned.Model, faces: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    """How often each symbol comes in each bin of scales, each face at a rounding step of its own."""
    seen = [np.zeros(len(count)) for count in net.counts]
    for i, face in enumerate(faces):
        learned.count(net, face, i * 37 % len(net.steps), seen)
    return seen
