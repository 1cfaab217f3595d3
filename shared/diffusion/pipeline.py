"""hide() and recover(): the method on one page.

    paper                                   here
    x_id -> z_0 = E(x_id)            (3)    model.encode
    z_0 -> z_T under prompt_id       (4)    identity.noise, the inverse of the receiver's sampling
    -                                       mixing of z_T under the key (scheme `keyed`)
    z_T -> z^_0 under prompt_stego   (5)    disguise.latent, the inverse of the receiver's inversion
    x_stego = G(z^_0)                (6)    draw: model.decode, the loop through 8 bits closed
    z^_0 = E(x'_stego)               (7)    read: model.encode, broken pixels left out
    z^_0 -> z^_T under prompt_stego  (8)    disguise.noise
    -                                       mixing undone
    z^_T -> z~_0 under prompt_id     (9)    identity.latent
    x_rev = G(z~_0)                 (10)    model.decode

With the scheme `sealed` z_T carries bits instead, and only (5) to (8) are walked (sealed.py).

The sender's walks are written as inverses of the receiver's. With an explicit solver (`ddim`, `heun`) the inverse is
the same rule walked back, which is the paper; with a matched one it is exact.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.diffusion import keying, sealed
from shared.diffusion.drawing import draw, read
from shared.diffusion.model import DiffusionModel
from shared.diffusion.schemes import SCHEMES, Scheme
from shared.diffusion.walks import Hidden as Hidden  # part of this page, as its callers see it
from shared.diffusion.walks import HideOptions as HideOptions
from shared.diffusion.walks import Meter, Progress, disguise_walk, identity_walk
from shared.diffusion.walks import Recovered as Recovered
from shared.errors import ChannelTooPoor, DdsrError, NotAuthentic, RecipeMismatch
from shared.prompts import canonical_prompt
from shared.recipe import NONCE_BYTES, VERSION, Recipe

Noise = NDArray[np.float64]  # (B, C, h, w), of unit variance in the ideal case
T = TypeVar("T")


def hide_each(
    model: DiffusionModel,
    faces: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    identity_prompts: Sequence[str],
    disguise_prompts: Sequence[str],
    options: HideOptions | None = None,
    *,
    nonces: Sequence[bytes] | None = None,
    on_step: Progress | None = None,
) -> list[Hidden | ChannelTooPoor]:
    """Phase one, the sender's (paper, section 3.3, equations 3 to 6).

    Args:
        faces: B of uint8 (S, S, 3), at the model's size; for `sealed` S is one of `codecs.SIZES`.
        identity_prompts, disguise_prompts: B of each, in canonical form (`shared.prompts`) 1..MAX_PROMPT characters.
        nonces: 16 bytes each; only for test vectors. One nonce serves one hiding under one identity prompt.
        on_step: called as on_step(k, n) before every step; what it raises ends the call.

    Returns:
        B results; an error stands for a face for which `sealed` found no stego that survives its channel.

    Raises:
        InputError: a prompt or picture that cannot be used.
        SolverError: a matched step did not converge (take more steps).
    """
    options = options or HideOptions()
    scheme = SCHEMES[options.scheme]
    meter = Meter(on_step, total=2 * options.resolved_steps)
    if scheme.sealed:
        return sealed.hide(model, list(faces), identity_prompts, disguise_prompts, options, meter, nonces)
    identity = identity_walk(model, options, identity_prompts, meter, undo=True)
    disguise = disguise_walk(model, options, disguise_prompts, meter, undo=True)
    used = list(nonces) if nonces is not None else [os.urandom(NONCE_BYTES) for _ in identity_prompts]

    with _keys(model, scheme, identity_prompts, used) as keys:
        zT = identity.noise(model.encode(np.asarray(faces)))  # equations 3 and 4; (B, C, h, w)
        zT, lengths = _mix(model, scheme, zT, keys())
    z0 = disguise.latent(zT)  # equation 5
    stegos = model.decode(z0) if scheme.paper_spacing else draw(model, z0, model.extras.contrast)
    return [
        Hidden(stego, _recipe(model, options, prompt, nonce, masked), meter.evaluations)
        for stego, prompt, nonce, masked in zip(stegos, disguise_prompts, used, lengths, strict=True)
    ]


def hide(
    model: DiffusionModel,
    faces: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    identity_prompts: Sequence[str],
    disguise_prompts: Sequence[str],
    options: HideOptions | None = None,
    *,
    nonces: Sequence[bytes] | None = None,
    on_step: Progress | None = None,
) -> list[Hidden]:
    """`hide_each`, raising the first ChannelTooPoor of the batch."""
    return _good(hide_each(model, faces, identity_prompts, disguise_prompts, options, nonces=nonces, on_step=on_step))


def recover_each(
    model: DiffusionModel,
    stegos: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    identity_prompts: Sequence[str],
    recipes: Sequence[Recipe],
    *,
    decoys: Sequence[bool] | None = None,
    on_step: Progress | None = None,
) -> list[Recovered | NotAuthentic]:
    """Phase two, the receiver's (paper, section 3.3, equations 7 to 10).

    Args:
        stegos: B of uint8 (H, W, 3), at the model's size; for `sealed` of any size.
        recipes: B recipes that agree in `batch_key`.
        decoys: of `sealed`, which of them shall give a stranger in place of an error. None: none.

    Returns:
        B results. Without `sealed` any prompt gives a picture; with it a wrong prompt, or a stego changed beyond
        repair, is an error or a decoy.

    Raises:
        InputError: a prompt or picture that cannot be used.
        RecipeMismatch: a recipe of another model, or recipes that do not go together.
    """
    check_recipes(model, recipes)
    options, version = HideOptions(recipes[0].scheme, recipes[0].solver, recipes[0].steps), recipes[0].version
    scheme = SCHEMES[options.scheme]
    meter = Meter(on_step, total=(1 if scheme.sealed else 2) * options.resolved_steps)
    if scheme.sealed:
        return sealed.recover(
            model, list(stegos), identity_prompts, recipes, options, meter, decoys or [False] * len(stegos)
        )
    identity = identity_walk(model, options, identity_prompts, meter, version=version)
    disguise = disguise_walk(model, options, [r.disguise_prompt for r in recipes], meter, version=version)

    pixels = np.asarray(stegos)
    z0 = model.encode(pixels) if scheme.paper_spacing else read(model, pixels, model.extras.contrast)
    with _keys(model, scheme, identity_prompts, [r.nonce for r in recipes], version) as keys:
        zT = disguise.noise(z0)  # equation 8
        zT = _unmix(model, scheme, zT, keys(), recipes)
    return [Recovered(face) for face in model.decode(identity.latent(zT))]  # equations 9 and 10


def recover(
    model: DiffusionModel,
    stegos: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    identity_prompts: Sequence[str],
    recipes: Sequence[Recipe],
    *,
    on_step: Progress | None = None,
) -> NDArray[np.uint8]:
    """The faces of `recover_each`, all of one size, uint8 (B, S, S, 3), raising the first NotAuthentic of the batch."""
    found = _good(recover_each(model, stegos, identity_prompts, recipes, on_step=on_step))
    return np.stack([recovered.face for recovered in found])


def _good(results: Sequence[T | DdsrError]) -> list[T]:
    good = []
    for result in results:
        if isinstance(result, DdsrError):
            raise result
        good.append(result)
    return good


def face_noise(
    model: DiffusionModel, faces: NDArray[np.uint8], identity_prompts: Sequence[str], options: HideOptions | None = None
) -> Noise:
    """Equations 3 and 4 alone: the noise of faces before any mixing, float64 (B, C, h, w). For measuring."""
    walk = identity_walk(model, options or HideOptions(), identity_prompts, undo=True)
    return _array(walk.noise(model.encode(faces)))


def stego_noise(
    model: DiffusionModel,
    stegos: NDArray[np.uint8],
    disguise_prompts: Sequence[str],
    options: HideOptions | None = None,
) -> Noise:
    """Equations 7 and 8 alone: the noise that anybody reads out of stegos, float64 (B, C, h, w)."""
    options = options or HideOptions()
    paper = SCHEMES[options.scheme].paper_spacing
    z0 = model.encode(stegos) if paper else read(model, stegos, model.extras.contrast)
    return _array(disguise_walk(model, options, disguise_prompts).noise(z0))


def stego_latents(
    model: DiffusionModel, noise: Noise, disguise_prompts: Sequence[str], options: HideOptions | None = None
) -> Tensor:
    """Equation 5 alone: the latents, float64 (B, C, h, w), to which given noise leads under prompts."""
    walk = disguise_walk(model, options or HideOptions(), disguise_prompts, undo=True)
    return walk.latent(torch.from_numpy(noise).to(model.device))


def _array(noise: Tensor) -> Noise:
    array: Noise = noise.cpu().numpy()
    return array


def check_recipes(model: DiffusionModel, recipes: Sequence[Recipe]) -> None:
    """Refuse recipes that this model cannot serve in one batch.

    Raises:
        RecipeMismatch, InvalidOption: see `recover`.
    """
    if len({r.batch_key for r in recipes}) != 1:
        raise RecipeMismatch("the recipes of one batch differ in model, scheme, solver, steps or version")
    first = recipes[0]
    if first.model != model.fingerprint:
        raise RecipeMismatch(f"the recipe is for model {first.model}, this is {model.fingerprint}")
    HideOptions(first.scheme, first.solver, first.steps)
    expected = SCHEMES[first.scheme].side_bytes(model)
    if any(len(r.lengths) != expected for r in recipes):
        raise RecipeMismatch("the recipe does not fit the model's latent")


def _recipe(model: DiffusionModel, options: HideOptions, prompt: str, nonce: bytes, lengths: bytes) -> Recipe:
    return Recipe(
        model.fingerprint,
        options.scheme,
        options.resolved_solver,
        options.resolved_steps,
        canonical_prompt(prompt).decode(),
        nonce,
        lengths,
    )


@contextmanager
def _keys(
    model: DiffusionModel, scheme: Scheme, prompts: Sequence[str], nonces: Sequence[bytes], version: int = VERSION
) -> Iterator[Callable[[], list[bytes]]]:
    """The stretched key of each picture, made while a GPU walks; on a CPU, which the walk has whole, when asked for."""

    def make() -> list[bytes]:
        pairs = zip(prompts, nonces, strict=True)
        return [keying.stretch(prompt, nonce, version) if scheme.keyed else b"" for prompt, nonce in pairs]

    if model.device.type == "cpu":
        yield make
        return
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(make).result


def _mix(model: DiffusionModel, scheme: Scheme, zT: Tensor, keys: Sequence[bytes]) -> tuple[Tensor, list[bytes]]:
    """The keyed map of each picture's noise; in the scheme `paper` nothing changes."""
    pairs = [scheme.mix(model, noise, key, VERSION) for noise, key in zip(zT.cpu().numpy(), keys, strict=True)]
    return torch.from_numpy(np.stack([noise for noise, _ in pairs])).to(zT), [side for _, side in pairs]


def _unmix(
    model: DiffusionModel, scheme: Scheme, zT: Tensor, keys: Sequence[bytes], recipes: Sequence[Recipe]
) -> Tensor:
    mixed = zip(zT.cpu().numpy(), keys, recipes, strict=True)
    back = [scheme.unmix(model, noise, key, recipe.lengths, recipe.version) for noise, key, recipe in mixed]
    return torch.from_numpy(np.stack(back)).to(zT)
