"""hide() and recover(): the method on one page.

    paper                                   here
    x_id -> z_0 = E(x_id)            (3)    model.encode
    z_0 -> z_T under prompt_id       (4)    solver.send, levels high .. low (the inverse of the receiver's sampling)
    -                                       mixing of z_T under the key (scheme `keyed`)
    z_T -> z^_0 under prompt_stego   (5)    solver.send, levels low .. high (the inverse of the receiver's inversion)
    x_stego = G(z^_0)                (6)    draw: model.decode, the loop through 8 bits closed
    z^_0 = E(x'_stego)               (7)    read: model.encode
    z^_0 -> z^_T under prompt_stego  (8)    solver.receive, levels low .. high
    -                                       mixing undone
    z^_T -> z~_0 under prompt_id     (9)    solver.receive, levels high .. low
    x_rev = G(z~_0)                 (10)    model.decode

The sender's walks are written as inverses of the receiver's. With an explicit solver (`ddim`, `heun`) the inverse is
the same rule walked back, which is the paper; with a matched one it is exact.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.diffusion import keying
from shared.diffusion.model import DiffusionModel
from shared.diffusion.schedule import karras_levels, paper_levels
from shared.diffusion.schemes import DEFAULT_SCHEME, SCHEMES, Scheme
from shared.diffusion.solvers import solver as solver_named
from shared.errors import InvalidOption, RecipeMismatch
from shared.recipe import NONCE_BYTES, Recipe

MAX_STEPS = 250
MAX_PROMPT = 256  # characters
MIDDLE = 127.5  # grey level
DRAW_ITERATIONS = 12

Progress = Callable[[int, int], None]
Noise = NDArray[np.float64]  # (B, C, h, w), of unit variance in the ideal case


@dataclass(frozen=True)
class HideOptions:
    """What the sender may choose.

    Attributes:
        scheme: a name of `SCHEMES`.
        solver: a name of `solvers.SOLVERS`; None is the scheme's own.
        steps: steps of one walk, 1..MAX_STEPS; None is the scheme's own number.

    Raises:
        InvalidOption: an unknown name, or steps out of range.
    """

    scheme: str = DEFAULT_SCHEME
    solver: str | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise InvalidOption(f"the scheme is one of: {', '.join(SCHEMES)}")
        solver_named(self.resolved_solver)
        if not 1 <= self.resolved_steps <= MAX_STEPS:
            raise InvalidOption(f"the steps lie between 1 and {MAX_STEPS}")

    @property
    def resolved_solver(self) -> str:
        return self.solver or SCHEMES[self.scheme].solver

    @property
    def resolved_steps(self) -> int:
        return SCHEMES[self.scheme].steps if self.steps is None else self.steps


@dataclass(frozen=True)
class Hidden:
    """One hidden face: stego uint8 (H, W, 3), its recipe, and the network evaluations that the walks took."""

    stego: NDArray[np.uint8]
    recipe: Recipe
    evaluations: int


@dataclass
class _Walker:
    """The two walks of one batch with their counters."""

    model: DiffusionModel
    on_step: Progress | None
    total: int
    evaluations: int = field(default=0)
    _step: int = field(default=0)

    def eps(self, text: Tensor) -> Callable[[Tensor, float], Tensor]:
        def predict(x: Tensor, sigma: float) -> Tensor:
            self.evaluations += 1
            return self.model.predict_noise(x, sigma, text)

        return predict

    def tick(self) -> None:
        if self.on_step is not None:
            self.on_step(self._step, self.total)
        self._step += 1


def hide(
    model: DiffusionModel, faces: NDArray[np.uint8], identity_prompts: Sequence[str], disguise_prompts: Sequence[str],
    options: HideOptions | None = None, *, nonces: Sequence[bytes] | None = None, on_step: Progress | None = None,
) -> list[Hidden]:  # fmt: skip
    """Phase one, the sender's (paper, section 3.3, equations 3 to 6).

    Args:
        faces: uint8 (B, H, W, 3) at the model's size.
        identity_prompts, disguise_prompts: B of each, 1..MAX_PROMPT characters.
        nonces: 16 bytes each; only for test vectors. One nonce serves one hiding under one identity prompt.
        on_step: called as on_step(k, n) before every step; what it raises ends the call.

    Raises:
        InputError: a prompt or picture that cannot be used.
        SolverError: a matched step did not converge (take more steps).
    """
    options = options or HideOptions()
    scheme, solver = SCHEMES[options.scheme], solver_named(options.resolved_solver)
    text_id, text_disguise = _embed(model, identity_prompts), _embed(model, disguise_prompts)
    used = list(nonces) if nonces is not None else [os.urandom(NONCE_BYTES) for _ in identity_prompts]
    down, up = _levels(model, scheme, options.resolved_steps)
    walker = _Walker(model, on_step, total=2 * options.resolved_steps)

    z0 = model.encode(faces)  # (B, C, h, w)
    zT = solver.send(z0, down, walker.eps(text_id), walker.tick)  # equation 4
    zT, lengths = _mix(model, scheme, zT, up[-1], identity_prompts, used)
    z0 = solver.send(zT, up, walker.eps(text_disguise), walker.tick)  # equation 5
    stegos = model.decode(z0) if scheme.paper_spacing else draw(model, z0, model.extras.contrast)
    return [
        Hidden(stego, _recipe(model, options, prompt, nonce, masked), walker.evaluations)
        for stego, prompt, nonce, masked in zip(stegos, disguise_prompts, used, lengths, strict=True)
    ]


def recover(
    model: DiffusionModel, stegos: NDArray[np.uint8], identity_prompts: Sequence[str], recipes: Sequence[Recipe], *,
    on_step: Progress | None = None,
) -> NDArray[np.uint8]:  # fmt: skip
    """Phase two, the receiver's (paper, section 3.3, equations 7 to 10). Any prompt gives a picture.

    Args:
        stegos: uint8 (B, H, W, 3) at the model's size.
        recipes: B recipes that agree in `batch_key`.

    Returns:
        uint8 (B, H, W, 3).

    Raises:
        InputError: a prompt or picture that cannot be used.
        RecipeMismatch: a recipe of another model, or recipes that do not go together.
    """
    check_recipes(model, recipes)
    scheme, solver = SCHEMES[recipes[0].scheme], solver_named(recipes[0].solver)
    text_id, text_disguise = (
        _embed(model, identity_prompts),
        _embed(model, [r.disguise_prompt for r in recipes]),
    )
    down, up = _levels(model, scheme, recipes[0].steps)
    walker = _Walker(model, on_step, total=2 * recipes[0].steps)

    z0 = model.encode(stegos) if scheme.paper_spacing else read(model, stegos, model.extras.contrast)
    zT = solver.receive(z0, up, walker.eps(text_disguise), walker.tick)  # equation 8
    zT = _unmix(model, scheme, zT, up[-1], identity_prompts, recipes)
    z0 = solver.receive(zT, down, walker.eps(text_id), walker.tick)  # equation 9
    return model.decode(z0)


def face_noise(
    model: DiffusionModel, faces: NDArray[np.uint8], identity_prompts: Sequence[str], options: HideOptions | None = None
) -> Noise:
    """Equations 3 and 4 alone: z_T / sigma_T of faces before any mixing, float64 (B, C, h, w). For measuring."""
    options = options or HideOptions()
    down, _ = _levels(model, SCHEMES[options.scheme], options.resolved_steps)
    walker = _Walker(model, None, total=options.resolved_steps)
    eps = walker.eps(_embed(model, identity_prompts))
    zT = solver_named(options.resolved_solver).send(model.encode(faces), down, eps, walker.tick)
    return _unit(zT, down[0])


def stego_noise(
    model: DiffusionModel, stegos: NDArray[np.uint8], disguise_prompts: Sequence[str],
    options: HideOptions | None = None,
) -> Noise:  # fmt: skip
    """Equations 7 and 8 alone: the z_T / sigma_T that anybody reads out of stegos, float64 (B, C, h, w)."""
    options = options or HideOptions()
    scheme = SCHEMES[options.scheme]
    _, up = _levels(model, scheme, options.resolved_steps)
    walker = _Walker(model, None, total=options.resolved_steps)
    z0 = model.encode(stegos) if scheme.paper_spacing else read(model, stegos, model.extras.contrast)
    eps = walker.eps(_embed(model, disguise_prompts))
    zT = solver_named(options.resolved_solver).receive(z0, up, eps, walker.tick)
    return _unit(zT, up[-1])


def stego_latents(
    model: DiffusionModel, noise: Noise, disguise_prompts: Sequence[str], options: HideOptions | None = None
) -> Tensor:
    """Equation 5 alone: the latents, float64 (B, C, h, w), to which given noise z_T / sigma_T leads under prompts."""
    options = options or HideOptions()
    _, up = _levels(model, SCHEMES[options.scheme], options.resolved_steps)
    walker = _Walker(model, None, total=options.resolved_steps)
    zT = torch.from_numpy(noise).to(model.device) * up[-1]
    return solver_named(options.resolved_solver).send(zT, up, walker.eps(_embed(model, disguise_prompts)), walker.tick)


def _unit(zT: Tensor, sigma: float) -> Noise:
    noise: Noise = (zT / sigma).cpu().numpy()
    return noise


def read(model: DiffusionModel, pixels: NDArray[np.uint8], contrast: float) -> Tensor:
    """Equation 7 for a stego drawn with `contrast`: its latent, float64 (B, C, h, w)."""
    levels = torch.tensor(pixels, device=model.device, dtype=torch.float64)
    return model.encode_levels((levels - MIDDLE) / contrast + MIDDLE)


def draw(model: DiffusionModel, z0: Tensor, contrast: float, iterations: int = DRAW_ITERATIONS) -> NDArray[np.uint8]:
    """Equation 6 with the loop closed: the 8-bit picture that `read` finds as near z0 as can be.

    A contrast below 1 leaves room beyond white and black. Clipping to 0..255 moves the latent; the missing part is
    drawn again into what room is left, and the picture of the
    smallest residual is kept (alternating projections between {x: E(x) = z0} and the cube of colours). The picture has
    more numbers than the latent, so there is room unless a region is far beyond white or black.

    Args:
        z0: float64 (B, C, h, w).
        contrast: 0..1, of the picture around middle grey.

    Returns:
        uint8 (B, H, W, 3).
    """
    low, high = MIDDLE - MIDDLE / contrast, MIDDLE + MIDDLE / contrast  # what 0 and 255 mean to `read`
    plain = model.decode_levels(z0)
    levels = plain.clamp(low, high)
    best, best_error = levels, torch.full((len(z0),), torch.inf, device=z0.device)
    for _ in range(iterations):
        residual = z0 - model.encode_levels(levels)
        error = residual.square().mean((1, 2, 3)).float()
        better = error < best_error
        best, best_error = torch.where(better[:, None, None, None], levels, best), error.minimum(best_error)
        levels = (levels + model.decode_levels(z0 + residual) - plain).clamp(low, high)
    pixels: NDArray[np.uint8] = ((best - MIDDLE) * contrast + MIDDLE).round().byte().cpu().numpy()
    return pixels


def check_recipes(model: DiffusionModel, recipes: Sequence[Recipe]) -> None:
    """Refuse recipes that this model cannot serve in one batch.

    Raises:
        RecipeMismatch, InvalidOption: see `recover`.
    """
    if len({r.batch_key for r in recipes}) != 1:
        raise RecipeMismatch("the recipes of one batch differ in model, scheme, solver or steps")
    first = recipes[0]
    if first.model != model.fingerprint:
        raise RecipeMismatch(f"the recipe is for model {first.model}, this is {model.fingerprint}")
    HideOptions(first.scheme, first.solver, first.steps)
    expected = SCHEMES[first.scheme].side_bytes(model)
    if any(len(r.lengths) != expected for r in recipes):
        raise RecipeMismatch("the recipe does not fit the model's latent")


def _embed(model: DiffusionModel, prompts: Sequence[str]) -> Tensor:
    texts = [keying.canonical_prompt(prompt).decode() for prompt in prompts]
    if any(len(text) > MAX_PROMPT for text in texts):
        raise InvalidOption(f"a prompt has more than {MAX_PROMPT} characters")
    return model.embed(texts)


def _levels(model: DiffusionModel, scheme: Scheme, steps: int) -> tuple[list[float], list[float]]:
    """Noise levels of the identity walk, falling, and of the disguise walk, rising."""
    schedule, extras = model.schedule, model.extras
    if scheme.paper_spacing:
        levels = paper_levels(schedule, steps).tolist()
        return levels[::-1], levels
    low, high = float(schedule.sigmas[0]), float(schedule.sigmas[-1])
    down = karras_levels(extras.face_floor or low, high, steps).tolist()
    up = karras_levels(extras.stego_floor or low, high, steps).tolist()
    return down[::-1], up


def _recipe(model: DiffusionModel, options: HideOptions, prompt: str, nonce: bytes, lengths: bytes) -> Recipe:
    return Recipe(
        model.fingerprint,
        options.scheme,
        options.resolved_solver,
        options.resolved_steps,
        prompt,
        nonce,
        lengths,
    )


def _mix(
    model: DiffusionModel,
    scheme: Scheme,
    zT: Tensor,
    sigma: float,
    prompts: Sequence[str],
    nonces: Sequence[bytes],
) -> tuple[Tensor, list[bytes]]:
    """The keyed map of each picture's noise; in the scheme `paper` nothing changes."""
    pairs = [
        scheme.mix(model, noise, keying.stretch(prompt, nonce) if scheme.keyed else b"")
        for noise, prompt, nonce in zip((zT / sigma).cpu().numpy(), prompts, nonces, strict=True)
    ]
    return torch.from_numpy(np.stack([noise for noise, _ in pairs])).to(zT) * sigma, [side for _, side in pairs]


def _unmix(
    model: DiffusionModel,
    scheme: Scheme,
    zT: Tensor,
    sigma: float,
    prompts: Sequence[str],
    recipes: Sequence[Recipe],
) -> Tensor:
    mixed = (zT / sigma).cpu().numpy()
    noises = [
        scheme.unmix(model, noise, keying.stretch(prompt, r.nonce) if scheme.keyed else b"", r.lengths)
        for noise, prompt, r in zip(mixed, prompts, recipes, strict=True)
    ]
    return torch.from_numpy(np.stack(noises)).to(zT) * sigma
