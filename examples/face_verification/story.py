"""The whole of it on this machine: the stack, the backend, and a kiosk that three people come to."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from cli.leaks import search
from ddsr_client import Secret
from examples.face_verification.register import write_prompts
from stack.parts import Part, is_ok
from stack.stack import Stack
from stack.temporary import free_ports, free_settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "examples.face_verification"
PROMPT = "a smiling woman with short hair, lived outage flanked humorous afar"  # a description, five random words
WRONG_PROMPT = "a smiling woman with short hair, lived outage flanked humorous ajar"


@dataclass(frozen=True)
class Visit:
    """Somebody comes to the kiosk and says a name; `prompt` is what the kiosk has for it."""

    title: str
    picture: Path
    prompt: str
    expected: bool


@dataclass(frozen=True)
class Outcome:
    """What the backend answered. `similarity` is None where the recovered picture showed no face."""

    visit: Visit
    verified: bool
    similarity: float | None
    seconds: float
    stego: Path
    answer: dict[str, Any]


class StoryError(RuntimeError):
    """A kiosk got no answer. The text is the kiosk's own."""


class Scene:
    """The stack and the backend, running. Everything that it writes is in `folder`.

    Args:
        folder: for keys, logs and stegos.
        log: takes the log of every process.
        subject, enrolled: the one person that the backend knows, and their photograph.
        stack_options: of `stack.stack.Stack`.
    """

    def __init__(
        self,
        folder: Path,
        log: TextIO,
        subject: str,
        enrolled: Path,
        *,
        prompt: str = PROMPT,
        **stack_options: Any,
    ) -> None:
        self._folder = folder
        self._subject = subject
        self.stack = Stack(free_settings(folder / "state"), log, **stack_options)
        (backend,) = free_ports(1)
        self.backend_url = f"http://127.0.0.1:{backend}"
        self._faces, self._prompts, self._key = folder / "faces", folder / "prompts.json", folder / "backend.key"
        self._faces.mkdir()
        (self._faces / f"{subject}{enrolled.suffix.lower()}").write_bytes(enrolled.read_bytes())
        write_prompts(self._prompts, {subject: Secret(prompt)})
        with os.fdopen(os.open(self._key, os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
            stream.write(secrets.token_urlsafe(32))
        self._port = backend

    @property
    def key(self) -> str:
        return self._key.read_text()

    def start(self) -> None:
        """Raises stack.supervisor.StartError; whatever runs by then is for `stop`."""
        self.stack.start()
        environment = {
            **_without_secrets(os.environ),
            "DDSR_RECEIVER_URL": self.stack.receiver_url,
            "VERIFY_FACES": str(self._faces),
            "VERIFY_PROMPTS": str(self._prompts),
            "VERIFY_KEY_FILE": str(self._key),
            "VERIFY_PORT": str(self._port),
        }
        command = [sys.executable, "-m", f"{PACKAGE}.backend"]
        healthy = f"{self.backend_url}/healthz"
        self.stack.supervisor.start(Part("backend", command, environment, lambda pid: is_ok(healthy)))

    def stop(self) -> None:
        """End every process."""
        self.stack.stop()

    def receive(self, visit: Visit, number: int) -> Outcome:
        """One visit, in a process of its own, which knows the sender and the backend but no receiver."""
        prompts = self._folder / f"kiosk{number}.json"
        write_prompts(prompts, {self._subject: Secret(visit.prompt)})
        stego = self._folder / f"sent{number}.png"
        words = {"--picture": visit.picture, "--prompts": prompts, "--key-file": self._key, "--keep-stego": stego}
        told = [str(word) for pair in words.items() for word in pair]
        command = [sys.executable, "-m", f"{PACKAGE}.kiosk", self._subject, "--backend", self.backend_url, *told]
        environment = {**_without_secrets(os.environ), "DDSR_SENDER_URL": self.stack.sender_url}
        started = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        if done.returncode not in (0, 1):
            raise StoryError(done.stderr.strip() or f"the kiosk ended with {done.returncode}")
        answer = json.loads(done.stdout)
        alike = next((match["similarity"] for match in answer.get("result", ())), None)
        return Outcome(visit, done.returncode == 0, alike, seconds, stego, answer)


def readable(log: str, outcomes: Sequence[Outcome], prompts: Sequence[str]) -> list[str]:
    """Prompts that can be read in the log of all processes or in what travelled; also inside base64 and zlib."""
    items = [("the log", log.encode()), *((outcome.stego.name, outcome.stego.read_bytes()) for outcome in outcomes)]
    return search(items, {f"prompt {number}": prompt.encode() for number, prompt in enumerate(prompts, 1)})


def _without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Without the variables that would tell the client another address or key, or a prompt."""
    ours = ("DDSR_SENDER_URL", "DDSR_RECEIVER_URL", "DDSR_API_KEY", "DDSR_API_KEY_FILE", "DDSR_IDENTITY_PROMPT")
    return {name: value for name, value in environment.items() if name not in ours}
