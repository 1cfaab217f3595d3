"""`python -m bench.noop_worker`: a worker whose core computes nothing, so that what is left is the stack itself.

`DDSR_BENCH_PAUSE`: seconds that each batch sleeps, to keep a queue full without using a processor.
"""

import os
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.recipe import NONCE_BYTES, Recipe
from shared.settings import QueueSettings, WorkerSettings
from worker.app import run
from worker.engine import Engine, OnStep, Options

PAUSE = "DDSR_BENCH_PAUSE"
SIZE = 128
Pixels = NDArray[np.uint8]


class NoModel:
    fingerprint = "0" * 16
    image_size = SIZE


@dataclass(frozen=True)
class Hidden:
    stego: Pixels
    recipe: Recipe


@dataclass(frozen=True)
class Recovered:
    face: Pixels
    authentic: bool | None = None


class NoCore:
    """A `worker.engine.Core`; a stego is the face, and back."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause
        self.model = NoModel()

    def hide_each(
        self,
        faces: Pixels,
        identity_prompts: Sequence[str],
        disguise_prompts: Sequence[str],
        options: Options,
        on_step: OnStep,
    ) -> list[Hidden]:
        self._step(on_step)
        return [
            Hidden(face, Recipe(self.model.fingerprint, "none", "none", 1, text, secrets.token_bytes(NONCE_BYTES)))
            for face, text in zip(faces, disguise_prompts, strict=True)
        ]

    def recover_each(
        self,
        stegos: Pixels,
        identity_prompts: Sequence[str],
        recipes: Sequence[Recipe],
        decoys: Sequence[bool],
        on_step: OnStep,
    ) -> list[Recovered]:
        self._step(on_step)
        return [Recovered(stego) for stego in stegos]

    def _step(self, on_step: OnStep) -> None:
        on_step(0, 1)
        time.sleep(self.pause)


def make_engine(limit: int, pause: float = 0.0) -> Engine:
    return Engine(NoCore(pause), limit=limit)


if __name__ == "__main__":
    settings = WorkerSettings()
    wait = float(os.environ.get(PAUSE, "0"))
    sys.exit(run(QueueSettings(), settings, lambda: make_engine(settings.batch_size, wait)))
