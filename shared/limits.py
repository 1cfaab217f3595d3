"""Limits that services, core, recipes and forms share. A deployment may set lower ones (`services.common.settings`)."""

from typing import Literal, get_args

from shared.errors import InvalidOption

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


def channel_and_size(
    scheme: str, channel: Channel | None, face_size: int | None, format: str
) -> tuple[Channel, int | None]:
    """The channel of a hiding, and the edge in pixels of the face that it carries; None: the model's size.

    Args:
        channel, face_size: as asked for, if at all.
        format: of the stego's file: `png`, `jpeg` or `webp`.

    Raises:
        InvalidOption: an option of another scheme, or a file that the channel would not let through.
    """
    if scheme != "sealed":
        if channel is not None or face_size is not None:
            raise InvalidOption(f"channel and face_size are of the scheme sealed, not of {scheme}; leave them out")
        return DEFAULT_CHANNEL, None
    if face_size not in (None, *FACE_SIZES):
        raise InvalidOption(f"face_size is one of: {', '.join(map(str, FACE_SIZES))}")
    if format != "png" and channel in (None, "lossless"):
        raise InvalidOption(f"a {format} file is no lossless channel; name another one, or take format=png")
    return channel or DEFAULT_CHANNEL, face_size or DEFAULT_FACE_SIZE
