"""A small real core with the interface of `shared.diffusion.pipeline`, for tests of queue and batches.

Hiding adds bytes that come from prompt and nonce, recovering subtracts them. Orders in the disguise prompt
make it misbehave on purpose: `poison` raises, `crash` kills the process, `big` runs out of memory with more
than two faces; `pause:SECONDS` makes each of the five steps last.

`python -m tests.worker.arithmetic` is a worker process with it; no torch, so it starts at once.
"""

import hashlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import NotAuthentic, PromptTooLong
from shared.recipe import Recipe
from shared.settings import QueueSettings, WorkerSettings
from worker.app import run
from worker.engine import Engine, OnStep, Options

STEPS = 5


class ArithmeticModel:
    fingerprint = "a" * 16
    image_size = 32


@dataclass(frozen=True)
class Hidden:
    stego: NDArray[np.uint8]
    recipe: Recipe


@dataclass(frozen=True)
class Recovered:
    face: NDArray[np.uint8]
    authentic: bool | None


class ArithmeticCore:
    """`batches` notes the size of every batch that was computed to its end."""

    def __init__(self) -> None:
        self.model = ArithmeticModel()
        self.batches: list[int] = []

    def hide_each(
        self,
        faces: NDArray[np.uint8],
        identity_prompts: Sequence[str],
        disguise_prompts: Sequence[str],
        options: Options,
        on_step: OnStep,
    ) -> list[Hidden]:
        if any("poison" in text for text in disguise_prompts):
            raise ArithmeticError(f"poisoned: {identity_prompts}")
        if any("too long" in text for text in disguise_prompts):
            raise PromptTooLong
        if any("big" in text for text in disguise_prompts) and len(faces) > 2:
            raise MemoryError
        steps = options.steps or STEPS
        self._steps(disguise_prompts, steps, on_step)
        found = []
        for face, prompt, disguise in zip(faces, identity_prompts, disguise_prompts, strict=True):
            nonce = secrets.token_bytes(16)
            recipe = Recipe(self.model.fingerprint, options.scheme, options.solver or "sum", steps, disguise, nonce)
            if options.scheme == "sealed":  # whose faces have a size of their own
                face = face[: self.model.image_size, : self.model.image_size]
            found.append(Hidden(face + _mask(prompt, nonce, face.shape), recipe))
        return found

    def recover_each(
        self,
        stegos: NDArray[np.uint8],
        identity_prompts: Sequence[str],
        recipes: Sequence[Recipe],
        decoys: Sequence[bool],
        on_step: OnStep,
    ) -> list[Recovered | NotAuthentic]:
        self._steps([recipe.disguise_prompt for recipe in recipes], recipes[0].steps, on_step)
        found: list[Recovered | NotAuthentic] = []
        for stego, prompt, recipe, decoy in zip(stegos, identity_prompts, recipes, decoys, strict=True):
            face = stego - _mask(prompt, recipe.nonce, stego.shape)
            forged = recipe.scheme == "sealed" and "wrong" in prompt
            authentic = not forged if recipe.scheme == "sealed" else None
            found.append(NotAuthentic() if forged and not decoy else Recovered(face, authentic))
        return found

    def _steps(self, disguises: Sequence[str], steps: int, on_step: OnStep) -> None:
        words = " ".join(disguises).split()
        pause = max((float(word[6:]) for word in words if word.startswith("pause:")), default=0.0)
        for step in range(1, steps + 1):
            if "crash" in words and step == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(pause)
            on_step(step, steps)
        self.batches.append(len(disguises))


def _mask(prompt: str, nonce: bytes, shape: Sequence[int]) -> NDArray[np.uint8]:
    seed = hashlib.sha256(prompt.encode() + nonce).digest()
    rng = np.random.default_rng(int.from_bytes(seed, "big"))
    return rng.integers(0, 256, size=tuple(shape), dtype=np.uint8)


def make_engine(limit: int = 4) -> Engine:
    return Engine(ArithmeticCore(), limit=limit)


if __name__ == "__main__":
    worker_settings = WorkerSettings()
    sys.exit(run(QueueSettings(), worker_settings, lambda: make_engine(worker_settings.batch_size)))
