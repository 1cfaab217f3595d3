"""The two walks of the method between clean latents and noise, as the options and the model ask for them.

    identity walk    equations 4 and 9: faces under the identity prompt
    disguise walk    equations 5 and 8: stegos under the disguise prompt, guided

Each is taken two ways: as the receiver does, and as the sender, who undoes what the receiver will do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared import stages
from shared.diffusion.channels import CHANNELS
from shared.diffusion.frames import Frame, Plain, Whitened
from shared.diffusion.model import DiffusionModel
from shared.diffusion.schedule import asinh_levels, karras_levels, paper_levels
from shared.diffusion.schemes import SCHEMES, plan_of
from shared.diffusion.solvers import Eps, Solver
from shared.diffusion.solvers import solver as solver_named
from shared.errors import InvalidOption
from shared.limits import DEFAULT_CHANNEL, DEFAULT_SCHEME, MAX_STEPS
from shared.prompts import canonical_prompt
from shared.recipe import VERSION, Recipe

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class HideOptions:
    """What the sender may choose.

    Attributes:
        scheme: a name of `SCHEMES`.
        solver: a name of `solvers.SOLVERS`; None is the scheme's own.
        steps: steps of one walk, 1..MAX_STEPS; None is the scheme's own number, or the channel's.
        channel: of the scheme `sealed`, a name of `channels.CHANNELS`: what its stegos shall survive.

    Raises:
        InvalidOption: an unknown name, or steps out of range.
    """

    scheme: str = DEFAULT_SCHEME
    solver: str | None = None
    steps: int | None = None
    channel: str = DEFAULT_CHANNEL

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise InvalidOption(f"the scheme is one of: {', '.join(SCHEMES)}")
        if self.channel not in CHANNELS:
            raise InvalidOption(f"the channel is one of: {', '.join(CHANNELS)}")
        solver_named(self.resolved_solver)
        if not 1 <= self.resolved_steps <= MAX_STEPS:
            raise InvalidOption(f"the steps lie between 1 and {MAX_STEPS}")

    @property
    def resolved_solver(self) -> str:
        return self.solver or SCHEMES[self.scheme].solver

    @property
    def resolved_steps(self) -> int:
        own = CHANNELS[self.channel].walk_steps if SCHEMES[self.scheme].sealed else SCHEMES[self.scheme].steps
        return own if self.steps is None else self.steps


@dataclass(frozen=True)
class Hidden:
    """One hidden face.

    Attributes:
        stego: uint8 (H, W, 3).
        evaluations: of the network by the walks of its batch.
        draws: of the scheme `sealed`, how many it took until one survived the channel.
    """

    stego: NDArray[np.uint8]
    recipe: Recipe
    evaluations: int
    draws: int = 1


@dataclass(frozen=True)
class Recovered:
    """One recovered face.

    Attributes:
        face: uint8 (S, S, 3).
        authentic: of the scheme `sealed`, whether it is the sender's face or a decoy; None: the scheme cannot tell.
    """

    face: NDArray[np.uint8]
    authentic: bool | None = None


@dataclass
class Meter:
    """Counts steps and evaluations of one call."""

    on_step: Progress | None
    total: int
    evaluations: int = field(default=0)
    _step: int = field(default=0)

    def tick(self) -> None:
        if self.on_step is not None:
            self.on_step(self._step, self.total)
        self._step += 1


@dataclass(frozen=True)
class Walk:
    """One of the two walks between clean latents and noise, of one batch.

    Attributes:
        name: `identity` or `disguise`.
        levels: noise levels, the clean end first.
        undo: take it as the sender does, who undoes what the receiver will do.
    """

    name: str
    levels: list[float]
    frame: Frame
    solver: Solver
    eps: Eps
    meter: Meter
    undo: bool

    def noise(self, z0: Tensor) -> Tensor:
        """Equations 4 and 8: latents -> noise of unit variance, float64 (B, C, h, w)."""
        u = self._go(self.frame.enter(z0, self.levels[0]), rising=True)
        return self.frame.noise(u, self.levels[-1])

    def latent(self, noise: Tensor) -> Tensor:
        """Equations 5 and 9: noise -> latents."""
        u = self._go(self.frame.from_noise(noise, self.levels[-1]), rising=False)
        return self.frame.leave(u, self.levels[0])

    def _go(self, u: Tensor, *, rising: bool) -> Tensor:
        go = self.solver.send if self.undo else self.solver.receive
        levels = self.levels if rising != self.undo else self.levels[::-1]  # always the receiver's
        direction = "inversion" if rising else "sampling"
        with stages.stage("walk", walk=self.name, direction=direction, steps=len(levels) - 1, size=len(u)):
            end = go(u, levels, self.frame.rate(self.eps), self.meter.tick, self.frame.clock)
            if end.is_cuda and stages.heard():
                torch.cuda.synchronize(end.device)  # else the time of this walk would count as that of what follows
        return end


def embed(model: DiffusionModel, prompts: Sequence[str], version: int, name: str, prefix: str = "") -> Tensor:
    """Hidden states, (B, L, D), of the canonical forms: the same words are the same picture. Errors say `name`."""
    return model.embed([canonical_prompt(prompt, version, name=name).decode() for prompt in prompts], name, prefix)


def embed_disguise(model: DiffusionModel, prompts: Sequence[str], version: int = VERSION) -> Tensor:
    """Hidden states, (B, L, D), of disguise prompts."""
    return embed(model, prompts, version, "disguise_prompt", model.extras.disguise_prefix)


def identity_walk(
    model: DiffusionModel,
    options: HideOptions,
    prompts: Sequence[str],
    meter: Meter | None = None,
    *,
    undo: bool = False,
    version: int = VERSION,
) -> Walk:
    """The walk of equations 4 and 9. `version`: of the recipe, for the prompts' canonical form."""
    text = embed(model, prompts, version, "identity_prompt")
    meter = meter or Meter(None, options.resolved_steps)

    def eps(x: Tensor, sigma: float) -> Tensor:
        meter.evaluations += 1
        return model.predict_noise(x, sigma, text)

    levels, frame = identity_frame(model, options)
    return Walk("identity", levels, frame, solver_named(options.resolved_solver), eps, meter, undo)


def identity_frame(model: DiffusionModel, options: HideOptions) -> tuple[list[float], Frame]:
    """Noise levels, rising, and coordinates of the walk of equations 4 and 9."""
    e = model.extras
    whitened = solver_named(options.resolved_solver).whitened
    frame = _whitened(model, e.face_mean, e.face_deviation) if whitened else Plain()
    return levels_of(model, options, e.face_floor, e.face_depth, e.face_knee), frame


def disguise_walk(
    model: DiffusionModel,
    options: HideOptions,
    prompts: Sequence[str],
    meter: Meter | None = None,
    *,
    undo: bool = False,
    version: int = VERSION,
) -> Walk:
    """The walk of equations 5 and 8. In whitened coordinates it is guided, where the model asks for it."""
    e, meter = model.extras, meter or Meter(None, options.resolved_steps)
    text = embed_disguise(model, prompts, version)
    solver = solver_named(options.resolved_solver)
    levels = levels_of(model, options, e.stego_floor, e.stego_depth, e.stego_knee)
    guided = solver.whitened and e.guidance != 1
    both = torch.cat([text, model.embed([e.guidance_against]).expand_as(text)]) if guided else text

    def eps(x: Tensor, sigma: float) -> Tensor:
        if not guided or sigma < e.guidance_floor:
            meter.evaluations += 1
            return model.predict_noise(x, sigma, text)
        meter.evaluations += 2
        prompted, free = model.predict_noise(torch.cat([x, x]), sigma, both).chunk(2)
        return free + e.guidance * (prompted - free)

    frame = _whitened(model, e.stego_mean, e.stego_deviation, temperature(model)) if solver.whitened else Plain()
    return Walk("disguise", levels, frame, solver, eps, meter, undo)


def levels_of(
    model: DiffusionModel, options: HideOptions, floor: float | None, depth: float | None, knee: float | None
) -> list[float]:
    """Noise levels of a walk, rising, steps + 1 of them. What of the model's own is None comes from its schedule."""
    schedule, steps = model.schedule, options.resolved_steps
    low, high = floor or float(schedule.sigmas[0]), float(schedule.sigmas[-1])
    whitened = solver_named(options.resolved_solver).whitened
    if SCHEMES[options.scheme].paper_spacing:
        levels = paper_levels(schedule, steps)
    elif whitened:
        levels = asinh_levels(low, min(high, depth or high), steps, knee or 1.0)
    else:
        levels = karras_levels(low, high, steps)
    listed: list[float] = levels.tolist()
    return listed


def _whitened(
    model: DiffusionModel,
    mean: Sequence[float] | None,
    deviation: Sequence[float] | None,
    temperature: NDArray[np.float64] | float = 1.0,
) -> Whitened:
    def field(values: Sequence[float] | NDArray[np.float64] | None, default: float) -> Tensor:
        filled = np.full(model.latent_shape, default) if values is None else np.reshape(values, model.latent_shape)
        return torch.from_numpy(filled.astype(np.float64)).to(model.device)

    warm = np.broadcast_to(temperature, model.latent_shape)
    return Whitened(field(mean, 0.0), field(deviation, 1.0), field(warm, 1.0))


def temperature(model: DiffusionModel) -> NDArray[np.float64]:
    """What the stego's noise is multiplied by in each DCT coordinate, (C, h, w): see `Extras.temperature`."""
    e, order = model.extras, plan_of(model).stego_order
    rank = np.linspace(0, 1, len(order))
    factor = np.empty(len(order))
    factor[order] = np.interp(rank, [e.temperature_start, 1.0], [1.0, e.temperature])
    return factor.reshape(model.latent_shape)
