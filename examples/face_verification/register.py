"""Who is enrolled: a vector of 128 numbers and the identity prompt agreed upon with each. No picture is kept.

The prompts are a JSON file `{"subject": "prompt"}` that only its owner can read. Kiosk and backend get their copies
out of band: by hand, by a configuration system, by a letter; never through the channel that the pictures take.
"""

import json
import os
import stat
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ddsr_client import Secret
from examples.face_verification.recogniser import Recogniser, Seen


@dataclass(frozen=True)
class Enrolled:
    """One person as the backend knows them."""

    face: Seen
    identity_prompt: Secret


def image_id(subject: str) -> str:
    """The id of a subject's photograph, a UUID: the same on both sides, so that a kiosk need not send the name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:ddsr:example:{subject}"))


class RegisterError(Exception):
    """The register cannot be used; the text names no prompt."""


def read_prompts(path: Path) -> dict[str, Secret]:
    """Raises RegisterError: unreadable, readable by others, or not of the form above."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise RegisterError(f"{path.name} can be read by others: chmod 600")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise RegisterError(f"{path.name} cannot be read") from None
    if not isinstance(found, dict) or not all(isinstance(value, str) and value for value in found.values()):
        raise RegisterError(f"{path.name} maps no subjects to prompts")
    return {subject: Secret(prompt) for subject, prompt in found.items()}


def write_prompts(path: Path, prompts: Mapping[str, Secret]) -> None:
    """A new file that only its owner can read."""
    text = json.dumps({subject: prompt.reveal() for subject, prompt in prompts.items()})
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)


def enrol(recogniser: Recogniser, folder: Path, prompts: Mapping[str, Secret]) -> dict[str, Enrolled]:
    """Everybody with a prompt and a photograph `SUBJECT.jpg`, `.png` or `.webp` in `folder`.

    Raises:
        RegisterError: somebody lacks a photograph, or theirs shows no face.
    """
    found = {}
    for subject, prompt in prompts.items():
        paths = [path for path in sorted(folder.iterdir()) if path.stem == subject and path.suffix in _SUFFIXES]
        face = recogniser.look(paths[0].read_bytes()) if paths else None
        if face is None:
            raise RegisterError(f"no photograph of {subject} that shows a face")
        found[subject] = Enrolled(face, prompt)
    return found


_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
