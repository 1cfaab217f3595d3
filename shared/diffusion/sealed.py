"""The scheme `sealed`: the face as authenticated bits in exactly Gaussian noise.

    sender      face -> code (codecs) -> payload of the rate's length, sealed (payload.py) -> z_T (noise_code.py)
                z_T -> z^_0 under prompt_stego (5), x_stego = G(z^_0) (6)
    receiver    z^_0 = E(x'_stego) (7), z^_0 -> z^_T under prompt_stego (8)
                z^_T -> payload, opened -> code -> face

The face never enters a walk. What a channel leaves of z_T decides how many bits get through, and that differs from
stego to stego by a factor of two. So the sender closes the loop: it sends its stego through everything that may happen
on the channel that was named, reads it as the receiver will, and draws again, with fewer bits, until that succeeds.
How many bits the first draw tries follows from the disguise prompt.

A rate is one byte of the recipe: which channel's noise is assumed, and how much louder than measured.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from shared import stages
from shared.diffusion import codecs, keying, payload
from shared.diffusion.channels import CHANNELS, resized
from shared.diffusion.drawing import draw, read
from shared.diffusion.model import DiffusionModel
from shared.diffusion.noise_code import STRETCH, NoiseCode, Rate, profile_of
from shared.diffusion.schemes import plan_of
from shared.diffusion.walks import Hidden, HideOptions, Meter, Recovered, disguise_walk, embed_disguise, identity_walk
from shared.errors import ChannelTooPoor, NotAuthentic, PromptTooLong
from shared.recipe import NONCE_BYTES, Recipe

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

DRAWS = 4  # at most, of one hiding
SHARE = 85  # percent of the capacity under the assumed noise that the codes take
STEPS = 64  # rates of a channel, half a decibel apart
LOWEST = -10.0  # decibels that the first of them is louder than the noise measured in training
PERSON = "a photo of a person"  # what stands before the identity prompt of a decoy
_LOUDER = 4  # steps from a draw that failed to the next one, at least
_UNMEASURED = {"lossless": (-22, -6), "jpeg": (-14, 10), "messenger": (-8, 16), "degraded": (-4, 20)}  # decibels


def rate_of(model: DiffusionModel, index: int) -> Rate:
    """A rate, 0..255: STEPS of each of `CHANNELS`, in their order, ever more cautious.

    The noise that it assumes was measured with the model (`Extras.channel_noise`); for a foreign model it is a straight
    line along the order of the coordinates.
    """
    channel, step = list(CHANNELS)[index // STEPS], index % STEPS
    measured = model.extras.channel_noise
    stretches = max(1, int(np.prod(model.latent_shape)) // STRETCH)
    noise = np.linspace(*_UNMEASURED[channel], stretches) if measured is None else measured[channel]
    return Rate.fitted(noise, SHARE, LOWEST + step / 2)


def first_rates(model: DiffusionModel, channel: str, disguise_prompts: Sequence[str]) -> list[int]:
    """The rates of the first draws: public, since they follow from channel and disguise prompt alone.

    A stego of one prompt carries up to twice what one of another does, and stegos of one prompt differ little. So the
    step is a linear function of the prompt's mean hidden state, measured with the model (`Extras.channel_start`); for
    a foreign model it is that of the channel's plain noise.
    """
    constant, *weights = (model.extras.channel_start or {}).get(channel, [-2 * LOWEST])
    steps = np.full(len(disguise_prompts), constant)
    if weights:
        steps = steps + embed_disguise(model, disguise_prompts).mean(1).double().cpu().numpy() @ weights
    start = list(CHANNELS).index(channel) * STEPS
    return [start + int(step) for step in np.clip(np.ceil(steps), 0, STEPS - 1)]


def next_rate(model: DiffusionModel, failed: int, noise: Array) -> int | None:
    """The rate for another draw after one that did not survive: fewer bits, and no more than would have got through.

    Args:
        noise: what the channel left in that stego, decibels (`profile_of`).

    Returns:
        None where no poorer rate is left.
    """
    count = int(np.prod(model.latent_shape))
    room = Rate.fitted(noise, SHARE).payload_bytes(count)
    poorer = range(failed + _LOUDER, failed // STEPS * STEPS + STEPS)
    return next((index for index in poorer if 0 < rate_of(model, index).payload_bytes(count) <= room), None)


def hide(
    model: DiffusionModel,
    faces: Sequence[Pixels],
    identity_prompts: Sequence[str],
    disguise_prompts: Sequence[str],
    options: HideOptions,
    meter: Meter,
    nonces: Sequence[bytes] | None = None,
) -> list[Hidden | ChannelTooPoor]:
    """Phase one. Each round draws those faces of the batch that have not survived their channel yet.

    Args:
        faces: uint8 (S, S, 3), S one of `codecs.SIZES`, whatever the size of the model.
        nonces: 16 bytes each, of the first round; only for test vectors.
    """
    rates = first_rates(model, options.channel, disguise_prompts)
    given = zip(faces, identity_prompts, disguise_prompts, nonces or [b""] * len(faces), rates, strict=True)
    hidings = [_Hiding(*part) for part in given]
    with stages.stage("channel loop", channel=options.channel, size=len(hidings)):
        for number in range(DRAWS):
            drafts = [draft for hiding in hidings if (draft := _draft(model, hiding, options)) is not None]
            if not drafts:
                break
            meter.total += number and 2 * options.resolved_steps
            with stages.stage("draw", number=number + 1, faces=len(drafts)):
                _draw(model, drafts, options, meter)
    for hiding in hidings:
        stages.figure("draws", hiding.draws, channel=options.channel)
    return [hiding.ended(meter) for hiding in hidings]


def recover(
    model: DiffusionModel,
    stegos: Sequence[Pixels],
    identity_prompts: Sequence[str],
    recipes: Sequence[Recipe],
    options: HideOptions,
    meter: Meter,
    decoys: Sequence[bool],
) -> list[Recovered | NotAuthentic]:
    """Phase two.

    Args:
        stegos: uint8 (H, W, 3); one of another size than the model's is brought to it.
        decoys: for which of them a wrong prompt shall give a stranger instead of an error.
    """
    pixels = np.stack([_sized(model, stego) for stego in stegos])
    pairs = zip(identity_prompts, recipes, strict=True)
    keys = [keying.stretch(prompt, recipe.nonce) for prompt, recipe in pairs]
    walk = disguise_walk(model, options, [recipe.disguise_prompt for recipe in recipes], meter)
    noises = walk.noise(read(model, pixels, model.extras.contrast)).cpu().numpy()
    found = [_opened(model, *part) for part in zip(noises, keys, recipes, strict=True)]
    wanted = [i for i, end in enumerate(found) if isinstance(end, NotAuthentic) and decoys[i]]
    if wanted:
        strangers = _strangers(model, [identity_prompts[i] for i in wanted], [keys[i] for i in wanted], options, meter)
        for i, face in zip(wanted, strangers, strict=True):
            found[i] = Recovered(face, authentic=False)
    return found


@dataclass
class _Hiding:
    """One face on its way. `rate`: of the next draw; None when there is no poorer one."""

    face: Pixels
    identity_prompt: str
    disguise_prompt: str
    nonce: bytes
    rate: int | None
    draws: int = 0
    sent: tuple[Pixels, Recipe] | None = field(default=None)

    def ended(self, meter: Meter) -> Hidden | ChannelTooPoor:
        if self.sent is None:
            return ChannelTooPoor()
        return Hidden(*self.sent, evaluations=meter.evaluations, draws=self.draws)


@dataclass(frozen=True)
class _Draft:
    hiding: _Hiding
    recipe: Recipe
    key: bytes
    noise: Array
    payload_bytes: int


def _draft(model: DiffusionModel, hiding: _Hiding, options: HideOptions) -> _Draft | None:
    """The noise in which the face is sealed at its rate; None when it is sent, or no rate has room for it."""
    if hiding.sent is not None or hiding.rate is None:
        return None
    recipe = Recipe(
        model.fingerprint,
        options.scheme,
        options.resolved_solver,
        options.resolved_steps,
        hiding.disguise_prompt,
        hiding.nonce or os.urandom(NONCE_BYTES),
        rate=hiding.rate,
    )
    code, key = _noise_code(model, recipe), keying.stretch(hiding.identity_prompt, recipe.nonce)
    hiding.nonce = b""
    try:
        face = codecs.encode_face(hiding.face, code.payload_bytes - payload.OVERHEAD)
    except ChannelTooPoor:
        hiding.rate = None
        return None
    sealed = payload.seal(face, key, recipe.associated_data, code.payload_bytes)
    return _Draft(hiding, recipe, key, code.encode(sealed, key), code.payload_bytes)


def _draw(model: DiffusionModel, drafts: Sequence[_Draft], options: HideOptions, meter: Meter) -> None:
    """Equations 5 and 6, then, once for each thing that may happen on the channel, 7 and 8."""
    happenings = list(CHANNELS[options.channel].steps.values())
    prompts = [draft.recipe.disguise_prompt for draft in drafts]
    noises = torch.from_numpy(np.stack([draft.noise for draft in drafts])).to(model.device)
    stegos = draw(model, disguise_walk(model, options, prompts, meter, undo=True).latent(noises), model.extras.contrast)
    arrived = [
        happen(stego, np.random.default_rng(list(draft.recipe.nonce)))
        for draft, stego in zip(drafts, stegos, strict=True)
        for happen in happenings
    ]
    walk = disguise_walk(model, options, [p for p in prompts for _ in happenings], meter)
    found = walk.noise(read(model, np.stack(arrived), model.extras.contrast)).cpu().numpy()
    for draft, stego, heard in zip(drafts, stegos, np.split(found, len(drafts)), strict=True):
        _judge(model, draft, stego, heard)
        if draft.hiding.sent is not None:
            stages.figure("payload", draft.payload_bytes, channel=options.channel)


def _judge(model: DiffusionModel, draft: _Draft, stego: Pixels, heard: Array) -> None:
    """Send a stego that opens however it arrived, (V, C, h, w); else choose the rate of the next draw."""
    hiding = draft.hiding
    hiding.draws += 1
    failed = [noise for noise in heard if isinstance(_opened(model, noise, draft.key, draft.recipe), NotAuthentic)]
    if not failed:
        hiding.sent = stego, draft.recipe
        return
    order = plan_of(model).stego_order
    rates = [next_rate(model, draft.recipe.rate, profile_of(draft.noise, noise, order)) for noise in failed]
    hiding.rate = None if None in rates else max(rate for rate in rates if rate is not None)


def _opened(model: DiffusionModel, noise: Array, key: bytes, recipe: Recipe) -> Recovered | NotAuthentic:
    try:
        sealed = _noise_code(model, recipe).decode(noise, key).payload
        return Recovered(codecs.decode_face(payload.unseal(sealed, key, recipe.associated_data)), authentic=True)
    except NotAuthentic as error:
        return error


def _strangers(
    model: DiffusionModel, prompts: Sequence[str], keys: Sequence[bytes], options: HideOptions, meter: Meter
) -> Pixels:
    """People whom the model draws under the prompts from noise of the keys: the same each time."""
    count = int(np.prod(model.latent_shape))
    noise = np.stack([keying.KeyStream(key, "decoy").normal(count).reshape(model.latent_shape) for key in keys])
    try:
        walk = identity_walk(model, options, [f"{PERSON}, {prompt}" for prompt in prompts], meter)
    except PromptTooLong:
        walk = identity_walk(model, options, prompts, meter)
    return model.decode(walk.latent(torch.from_numpy(noise).to(model.device)))


def _noise_code(model: DiffusionModel, recipe: Recipe) -> NoiseCode:
    return NoiseCode(model.latent_shape, plan_of(model).stego_order, rate_of(model, recipe.rate))


def _sized(model: DiffusionModel, stego: Pixels) -> Pixels:
    return stego if stego.shape[:2] == (model.image_size,) * 2 else resized(stego, model.image_size)
