"""What the handlers of one app share, made once by `build_app` and kept in `app.state`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import anyio
from anyio import to_thread
from fastapi import Request

from services.common.keys import KeyRing
from services.common.limits import RateLimits
from services.common.logs import Log
from services.common.metrics import ServiceMetrics
from services.common.settings import ServiceSettings
from shared.jobs import JobStore, Kind

P = ParamSpec("P")
T = TypeVar("T")
REDIS_THREADS = 16
DECODE_THREADS = 2


@dataclass
class Context:
    """Settings and collaborators of one service.

    Redis and picture decoding block, so each has a few threads of its own: neither a slow Redis nor a pile of
    pictures takes the threads of the other. Waiting for a job holds no thread.
    """

    kind: Kind
    service: str
    settings: ServiceSettings
    store: JobStore
    keys: KeyRing
    limits: RateLimits
    metrics: ServiceMetrics
    log: Log
    uploads: int = 0
    _redis: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(REDIS_THREADS))
    _decode: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(DECODE_THREADS))

    async def ask(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one short blocking call to Redis off the event loop."""
        return await to_thread.run_sync(lambda: call(*args, **kwargs), limiter=self._redis)

    async def compute(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run picture decoding off the event loop."""
        return await to_thread.run_sync(lambda: call(*args, **kwargs), limiter=self._decode)


def context_of(request: Request) -> Context:
    """The context of the app that serves `request`."""
    context = request.app.state.context
    assert isinstance(context, Context)  # noqa: S101 - `app.state` is untyped
    return context
