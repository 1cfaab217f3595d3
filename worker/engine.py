"""The one warm model of a worker process, and how requests become pictures with it.

`Engine` takes the core, bound to its model, as an argument, so that tests hand in their own. It knows nothing of
queues. Requests of one call are compatible (equal `request.batch`).
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import ComputationFailed, DdsrError, JobCancelled, JobTimeout, RecipeMismatch
from shared.imaging import MEDIA_TYPES, PictureFormat, encode_picture
from shared.jobs.model import HideRequest, JobResult, RecoverRequest, Request
from shared.recipe import Recipe

OnStep = Callable[[int, int], None]
Around = Callable[[Sequence[int]], contextlib.AbstractContextManager[None]]


class Stop(BaseException):
    """The time of the whole batch is up. Comes of `on_step`, or of an alarm: no `except Exception` may eat it."""


class Unwanted(BaseException):
    """Raised out of `on_step` to end the part being computed, whose results nobody wants any more."""


class Model(Protocol):
    """What the worker needs to know of a model."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def image_size(self) -> int: ...


class Options(Protocol):
    """What a sender may choose, of a whole batch; None leaves the choice to the core."""

    @property
    def scheme(self) -> str: ...
    @property
    def solver(self) -> str | None: ...
    @property
    def steps(self) -> int | None: ...
    @property
    def channel(self) -> str: ...


class Hidden(Protocol):
    """A stego, uint8 (S, S, 3), and the recipe of its hiding."""

    @property
    def stego(self) -> NDArray[np.uint8]: ...
    @property
    def recipe(self) -> Recipe: ...


class Recovered(Protocol):
    """A face, uint8 (S, S, 3); `authentic` is None where the scheme cannot tell."""

    @property
    def face(self) -> NDArray[np.uint8]: ...
    @property
    def authentic(self) -> bool | None: ...


class Core(Protocol):
    """The method bound to its model (`worker.core.PipelineCore`): B results of B pictures, uint8 (B, H, W, 3).

    Both call on_step(k, n) before every step, and what that raises ends the call. An error in a result's place is the
    fault of that picture alone; one that is raised is the batch's.
    """

    @property
    def model(self) -> Model: ...

    def hide_each(
        self,
        faces: NDArray[np.uint8],
        identity_prompts: Sequence[str],
        disguise_prompts: Sequence[str],
        options: Options,
        on_step: OnStep,
    ) -> Sequence[Hidden | DdsrError]: ...

    def recover_each(
        self,
        stegos: NDArray[np.uint8],
        identity_prompts: Sequence[str],
        recipes: Sequence[Recipe],
        decoys: Sequence[bool],
        on_step: OnStep,
    ) -> Sequence[Recovered | DdsrError]: ...


@dataclass(frozen=True, repr=False)
class Outcome:
    """A request's own end: a result, or the error that is its own."""

    result: JobResult | None = None
    error: DdsrError | None = None


class Engine:
    """`limit` is the largest batch that memory is known to hold; it shrinks when memory runs out."""

    def __init__(self, core: Core, *, limit: int = 4) -> None:
        self._core = core
        self.limit = limit
        self.fingerprint = core.model.fingerprint
        self.image_size = core.model.image_size

    def run(
        self,
        requests: Sequence[Request],
        on_step: Callable[[Sequence[int], int, int], None],
        on_error: Callable[[BaseException], None] = lambda error: None,
        around: Around = lambda part: contextlib.nullcontext(),
    ) -> list[Outcome]:
        """Compute a batch; one outcome for each request.

        A batch that fails is halved until the request at fault stands alone, so that the others finish. When
        memory ran out, later batches stay at the size that fitted. When time is up, what is finished is kept.

        Args:
            on_step: called between diffusion steps with the indices being computed, k and n. May raise Unwanted, which
                ends this part (JobCancelled), or Stop, which ends all that is not finished (JobTimeout).
            on_error: told of every unforeseen error, for the log.
            around: gives the context in which a part is computed, for its indices.
        """
        outcomes: list[Outcome | None] = [None] * len(requests)
        with contextlib.suppress(Stop):
            self._parts(requests, outcomes, on_step, on_error, around)
        return [outcome if outcome is not None else Outcome(error=JobTimeout()) for outcome in outcomes]

    def _parts(
        self,
        requests: Sequence[Request],
        outcomes: list[Outcome | None],
        on_step: Callable[[Sequence[int], int, int], None],
        on_error: Callable[[BaseException], None],
        around: Around,
    ) -> None:
        """Fill in an outcome for each request, part by part. Stop leaves it, as it came."""
        waiting = _chunks(list(range(len(requests))), self.limit)
        while waiting:
            part = waiting.pop(0)
            try:
                with around(part):
                    results = self._compute([requests[i] for i in part], partial(on_step, part))
                for i, outcome in zip(part, results, strict=True):
                    outcomes[i] = outcome
            except Unwanted:
                for i in part:
                    outcomes[i] = Outcome(error=JobCancelled())
            except Exception as error:
                if not isinstance(error, DdsrError):
                    on_error(error)
                if len(part) == 1:
                    outcomes[part[0]] = Outcome(error=_coded(error))
                    continue
                half = (len(part) + 1) // 2
                if _out_of_memory(error):
                    self.limit = min(self.limit, half)
                    _free_memory()
                waiting[:0] = [part[:half], part[half:]]

    def _compute(self, requests: Sequence[Request], on_step: OnStep) -> list[Outcome]:
        start = time.perf_counter()
        pictures = np.stack([request.picture.to_array() for request in requests])
        prompts = [request.identity_prompt.get_secret_value() for request in requests]
        hides = [request for request in requests if isinstance(request, HideRequest)]
        if hides:
            return self._hide(hides, pictures, prompts, on_step, start)
        recovers = [request for request in requests if isinstance(request, RecoverRequest)]
        return self._recover(recovers, pictures, prompts, on_step, start)

    def _hide(
        self,
        requests: Sequence[HideRequest],
        faces: NDArray[np.uint8],
        prompts: Sequence[str],
        on_step: OnStep,
        start: float,
    ) -> list[Outcome]:
        disguises = [request.disguise_prompt for request in requests]
        found = self._core.hide_each(faces, prompts, disguises, requests[0], on_step)
        seconds = time.perf_counter() - start
        return [
            Outcome(error=hidden)
            if isinstance(hidden, DdsrError)
            else _outcome(hidden.stego, request.format, seconds, recipe=hidden.recipe.to_text())
            for request, hidden in zip(requests, found, strict=True)
        ]

    def _recover(
        self,
        requests: Sequence[RecoverRequest],
        stegos: NDArray[np.uint8],
        prompts: Sequence[str],
        on_step: OnStep,
        start: float,
    ) -> list[Outcome]:
        recipes = [request.recipe for request in requests]
        if any(recipe.model != self.fingerprint for recipe in recipes):
            raise RecipeMismatch("the recipe belongs to another model")
        decoys = [request.decoy for request in requests]
        found = self._core.recover_each(stegos, prompts, recipes, decoys, on_step)
        seconds = time.perf_counter() - start
        return [
            Outcome(error=recovered)
            if isinstance(recovered, DdsrError)
            else _outcome(recovered.face, request.format, seconds, authentic=recovered.authentic)
            for request, recovered in zip(requests, found, strict=True)
        ]


def _outcome(
    rgb: NDArray[np.uint8],
    form: PictureFormat,
    seconds: float,
    *,
    recipe: str | None = None,
    authentic: bool | None = None,
) -> Outcome:
    data = encode_picture(rgb, form, recipe=recipe)
    return Outcome(JobResult(data, MEDIA_TYPES[form], recipe, round(seconds, 4), authentic))


def _chunks(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), max(1, size))]


def _coded(error: Exception) -> DdsrError:
    return error if isinstance(error, DdsrError) else ComputationFailed()


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _free_memory() -> None:
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
