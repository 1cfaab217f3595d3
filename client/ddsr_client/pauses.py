"""What the two clients do in two ways. `aio.py` takes the names with an `a`, `sync.py` those without."""

import inspect
import time
from contextlib import AbstractContextManager, nullcontext

import anyio

from ddsr_client.models import Job
from ddsr_client.wire import AsyncProgress


async def apause(seconds: float) -> None:
    """Let others run for some seconds."""
    await anyio.sleep(seconds)


def pause(seconds: float) -> None:
    """Block for some seconds."""
    time.sleep(seconds)


def ashield(on: bool) -> AbstractContextManager[object]:
    """While a task is cancelled, its cleaning up goes on, if `on`."""
    return anyio.CancelScope(shield=on)


def shield(on: bool) -> AbstractContextManager[object]:
    """Nothing: no task is cancelled here."""
    return nullcontext()


async def atell(progress: AsyncProgress, job: Job) -> object:
    """Call the caller's function, and await what it gives where that can be awaited."""
    found = progress(job)
    return await found if inspect.isawaitable(found) else found


def tell(progress: AsyncProgress, job: Job) -> object:
    """Call the caller's function."""
    return progress(job)
