"""A worker process for the tests of HTTP: the real queue and worker around a core that needs no torch.

The core hides by a keyed mask, so that the right prompt and the right recipe give the very face back and any
other a noise picture; each diffusion step takes `PAUSE`. It stands at the boundary `worker.engine.Core`. The
end-to-end tests run the real one.
"""

import hashlib
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import SolverError
from shared.recipe import NONCE_BYTES, Recipe
from shared.settings import QueueSettings, WorkerSettings
from worker.app import run
from worker.engine import Engine

SIZE = 32
FINGERPRINT = "00112233445566ff"
PAUSE = 0.02
STEPS = 3
FAILING = "a disguise that does not converge"

Pixels = NDArray[np.uint8]
OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class _Model:
    fingerprint: str = FINGERPRINT
    image_size: int = SIZE


@dataclass(frozen=True)
class HideOptions:
    scheme: str = "keyed"
    solver: str = "mask"
    steps: int = STEPS


@dataclass(frozen=True)
class Hidden:
    stego: Pixels
    recipe: Recipe


class MaskCore:
    """`shared.diffusion.pipeline` in miniature."""

    HideOptions = HideOptions

    def hide(
        self,
        model: _Model,
        faces: Pixels,
        prompts: Sequence[str],
        disguises: Sequence[str],
        options: HideOptions,
        *,
        on_step: OnStep,
    ) -> list[Hidden]:
        if FAILING in disguises:
            raise SolverError("step 1 did not reach its tolerance")
        _walk(options.steps, on_step)
        hidden = []
        for face, prompt, disguise in zip(faces, prompts, disguises, strict=True):
            nonce = secrets.token_bytes(NONCE_BYTES)
            recipe = Recipe(model.fingerprint, options.scheme, options.solver, options.steps, disguise, nonce)
            hidden.append(Hidden(face ^ _mask(prompt, nonce, face.shape), recipe))
        return hidden

    def recover(
        self,
        model: _Model,
        stegos: Pixels,
        prompts: Sequence[str],
        recipes: Sequence[Recipe],
        *,
        on_step: OnStep,
    ) -> Pixels:
        _walk(recipes[0].steps, on_step)
        shape = stegos.shape[1:]
        masks = [_mask(prompt, recipe.nonce, shape) for prompt, recipe in zip(prompts, recipes, strict=True)]
        return stegos ^ np.stack(masks)


def _walk(steps: int, on_step: OnStep) -> None:
    for step in range(1, steps + 1):
        time.sleep(PAUSE)
        on_step(step, steps)


def _mask(prompt: str, nonce: bytes, shape: tuple[int, ...]) -> Pixels:
    seed = int.from_bytes(hashlib.sha256(prompt.encode() + nonce).digest(), "big")
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def main(folder: Path) -> int:
    settings = WorkerSettings(
        worker_keys=folder / "worker",
        webhook_secret_file=folder / "webhook.secret",
        webhook_allow_private=True,
        metrics_port=0,
        batch_window=0.0,
        heartbeat_interval=0.5,
    )
    return run(QueueSettings(), settings, lambda: Engine(_Model(), MaskCore()))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
