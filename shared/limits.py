"""Limits that services, core, recipes and forms share. A deployment may set lower ones (`services.common.settings`)."""

MAX_STEPS = 250  # diffusion steps of one walk
MAX_PROMPT = 256  # characters of a prompt's canonical form (`shared.prompts`)
