"""Limits that services, core, recipes and forms share. A deployment may set lower ones (`services.common.settings`)."""

from typing import Literal, get_args

MAX_STEPS = 250  # diffusion steps of one walk
MAX_PROMPT = 256  # characters of a prompt's canonical form (`shared.prompts`)

# What a sender may ask for; the core says what each means (`shared.diffusion.schemes`, `channels`, `codecs`).
Scheme = Literal["sealed", "keyed", "paper"]
Channel = Literal["lossless", "jpeg", "messenger", "degraded"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
CHANNELS: tuple[Channel, ...] = get_args(Channel)
FACE_SIZES = (128, 160, 192, 256)  # edges in pixels of a face that `sealed` carries
DEFAULT_SCHEME: Scheme = "keyed"
DEFAULT_CHANNEL: Channel = "lossless"
DEFAULT_FACE_SIZE = FACE_SIZES[0]
