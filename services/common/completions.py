"""Completions of jobs, published by Redis as they happen, so that requests that wait need not ask it often."""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import redis

from shared.jobs import open_asyncio_redis
from shared.jobs.scripts import ENDED
from shared.logs import Log
from shared.settings import QueueSettings

RECONNECT_PAUSE = 1.0  # seconds before another try to listen
READ_TIMEOUT = 5.0  # seconds for which one reading of the subscription waits
CANCEL_PAUSE = 0.2  # seconds between two cancellations of a listener
CANCEL_TIMEOUT = 3.0  # seconds; longer than redis-py takes to close a connection
RECENT = 1000  # completions; some seconds of what one Redis can do


async def cancel(task: asyncio.Task[None], seconds: float) -> None:
    """Cancel a task until it has ended. Once is not enough: redis-py's reading of a subscription swallows a
    cancellation that comes in the moment of its own time-out.

    Raises:
        TimeoutError: it has not ended within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not task.done():
        if time.monotonic() > deadline:
            raise TimeoutError("a task cannot be cancelled")
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_PAUSE)


class Completion:
    """A wait for the completion of one job."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Whether the completion was published meanwhile. It is no more than a reason to look at the job: anybody who
        reaches Redis can publish it."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Completions:
    """One of an app, in its event loop. While `listening` is false, nobody is notified."""

    def __init__(self, settings: QueueSettings, log: Log, *, read_timeout: float = READ_TIMEOUT) -> None:
        self._read_timeout = read_timeout
        self._settings = settings
        self._log = log
        self._waits: defaultdict[str, set[Completion]] = defaultdict(set)
        self._recent: deque[str] = deque(maxlen=RECENT)  # published while nobody here waited for them
        self.listening = False

    @contextmanager
    def watch(self, job_id: str) -> Iterator[Completion]:
        """A completion just before this call is noticed too: a job may be quicker than the answer to its submission."""
        completion = Completion()
        if job_id in self._recent:
            completion.notify()
        self._waits[job_id].add(completion)
        try:
            yield completion
        finally:
            self._waits[job_id].discard(completion)
            if not self._waits[job_id]:
                del self._waits[job_id]

    @asynccontextmanager
    async def subscribed(self) -> AsyncIterator[None]:
        """Listen for the length of the block. What ended the listener before its time is raised at the block's end,
        and TimeoutError when it cannot be ended.
        """
        listener = asyncio.create_task(self.listen())
        try:
            yield
        finally:
            await cancel(listener, CANCEL_TIMEOUT)
        if not listener.cancelled():
            listener.result()

    async def listen(self) -> None:
        """Until cancelled; of a Redis that is away, again and again."""
        client = open_asyncio_redis(self._settings)
        try:
            while True:
                try:
                    async with client.pubsub() as stream:
                        await stream.subscribe(ENDED)
                        while True:
                            self._receive(await stream.get_message(timeout=self._read_timeout))
                except (redis.RedisError, OSError) as error:
                    if self.listening:
                        self._log.warning("subscription-lost", error=type(error).__name__)
                self.listening = False
                await asyncio.sleep(RECONNECT_PAUSE)
        finally:
            self.listening = False
            await client.aclose()

    def _receive(self, message: dict[str, Any] | None) -> None:
        if message is None:
            return
        if message["type"] == "subscribe":
            self.listening = True
        elif message["type"] == "message":
            job_id = message["data"].decode(errors="replace")
            if job_id not in self._waits:
                self._recent.append(job_id)
            for completion in self._waits.get(job_id, ()):
                completion.notify()
