"""What the handlers of one app share, made once by `build_app` and kept in `app.state`."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import anyio
from anyio import to_thread
from fastapi import Request

from services.common.completions import Completions
from services.common.keys import ApiKeys
from services.common.metrics import ServiceMetrics
from services.common.rate_limits import RateLimits
from services.common.settings import ServiceSettings
from shared.jobs import JobStore, Kind, QueueHealth
from shared.logs import Log

P = ParamSpec("P")
T = TypeVar("T")
REDIS_THREADS = 16
DECODE_THREADS = 2
HEALTH_SECONDS = 1.0  # for which an answer about health serves everybody who asks without a key


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
    keys: ApiKeys
    limits: RateLimits
    metrics: ServiceMetrics
    log: Log
    completions: Completions
    fields: frozenset[str]  # of the form, and those of them that are files
    files: frozenset[str]
    close: Callable[[], None]  # the connections to Redis
    uploads: Counter[str] = field(default_factory=Counter)  # by owner, as is `waiting`
    waiting: Counter[str] = field(default_factory=Counter)
    _redis: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(REDIS_THREADS))
    _decode: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(DECODE_THREADS))
    _look: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))
    _seen: tuple[float, QueueHealth] | None = None

    async def run_redis(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one short blocking call to Redis off the event loop."""
        return await to_thread.run_sync(lambda: call(*args, **kwargs), limiter=self._redis)

    async def health(self) -> QueueHealth:
        """The queue's health of the last second. Nobody needs a key to ask, so one thread at most is at it."""
        return await to_thread.run_sync(self._health, limiter=self._look)

    def _health(self) -> QueueHealth:
        if self._seen is None or time.monotonic() - self._seen[0] > HEALTH_SECONDS:
            found = self.store.health()
            self._seen = time.monotonic(), found
        return self._seen[1]

    @contextmanager
    def place(self, owner: str) -> Iterator[bool]:
        """Whether `owner` may have one more request wait; it does so for the length of the block."""
        free = self.waiting[owner] < self.settings.max_waiting
        self.waiting[owner] += free
        try:
            yield free
        finally:
            self.waiting[owner] -= free

    async def run_decoding(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run picture decoding off the event loop."""
        return await to_thread.run_sync(lambda: call(*args, **kwargs), limiter=self._decode)


def context_of(request: Request) -> Context:
    """The context of the app that serves `request`."""
    context: Context = request.app.state.context
    return context
