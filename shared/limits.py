"""Limits that services, core, recipes and forms share. A deployment may set lower ones (`services.common.settings`)."""

MAX_STEPS = 250  # diffusion steps of one walk
MAX_PROMPT = 256  # characters of a prompt's canonical form (`shared.prompts`)

# What a sender may ask for; the core says what each means (`shared.diffusion.schemes`, `channels`, `codecs`).
SCHEMES = ("sealed", "keyed", "paper")
CHANNELS = ("lossless", "jpeg", "messenger", "degraded")
FACE_SIZES = (128, 160, 192, 256)  # edges in pixels of a face that `sealed` carries
DEFAULT_SCHEME, DEFAULT_CHANNEL, DEFAULT_FACE_SIZE = "keyed", "lossless", 128
