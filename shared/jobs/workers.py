"""The workers that live, whom of them a service trusts, and how much room the queue has."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import redis

from shared.envelope import PublicKey
from shared.errors import DdsrError, EnvelopeError, KeyFileError, NoWorker, QueueError, QueueFull
from shared.jobs.connection import explain, remedy
from shared.jobs.model import QueueHealth, WorkerInfo, announced
from shared.jobs.rq import QueueKeys
from shared.jobs.scripts import WORKERS, record_key, worker_key
from shared.settings import QueueSettings

_LOG = logging.getLogger("ddsr.jobs")
_INTAKE = 0.9  # share of Redis' memory beyond which no new job is taken


def announce(connection: Any, info: WorkerInfo, ttl: int) -> None:
    """Tell the services for `ttl` seconds that a worker lives, with its public key and its model."""
    with connection.pipeline() as pipe:
        pipe.sadd(WORKERS, info.name)
        pipe.set(worker_key(info.name), json.dumps(asdict(info)), ex=ttl)
        pipe.execute()


def withdraw(connection: Any, name: str) -> None:
    """A worker has ended."""
    with connection.pipeline() as pipe:
        pipe.srem(WORKERS, name)
        pipe.delete(worker_key(name))
        pipe.execute()


def live_workers(connection: Any) -> list[WorkerInfo]:
    """Those whose announcement has not run out; the names of others are forgotten."""
    names = sorted(name.decode() for name in connection.smembers(WORKERS))
    found = connection.mget([worker_key(name) for name in names]) if names else []
    for name, text in zip(names, found, strict=True):
        if text is None:
            connection.srem(WORKERS, name)
    return [worker for text in found if text is not None and (worker := announced(text)) is not None]


class Workers:
    """The workers as one service sees them. Methods but `health` raise redis.RedisError while Redis is away."""

    def __init__(self, connection: redis.Redis, settings: QueueSettings) -> None:
        self._redis: Any = connection
        self._settings = settings
        self._queue = QueueKeys.of(settings).waiting
        self._strangers: set[str] = set()

    def trusted(self) -> tuple[WorkerInfo, ...]:
        """The live workers to whose keys a request is sealed.

        Raises:
            NoWorker: no trusted worker lives. KeyFileError: of the file of trusted keys.
        """
        workers = self._trusted(live_workers(self._redis))
        if not workers:
            raise NoWorker
        return workers

    def check_room(self, size: int) -> None:
        """Refuse a job while there is memory left for those that were accepted: a worker must write to make room.

        Raises:
            QueueFull: `size` more bytes would reach into that share.
        """
        memory = self._redis.info("memory")
        if memory["maxmemory"] and memory["used_memory"] + size > _INTAKE * memory["maxmemory"]:
            raise QueueFull("the queue's store is nearly full")

    def health(self) -> QueueHealth:
        """Whether Redis answers and takes writes, how many jobs wait, which workers live. What stands in the way of a
        job is `trouble`, not raised: metrics want the rest as well.
        """
        try:
            workers, queued = tuple(live_workers(self._redis)), int(self._redis.llen(self._queue))
            memory = self._redis.info("memory")
            numbers = (self._oldest(), int(memory["used_memory"]), int(memory["maxmemory"]), self._settings.queue_limit)
            trouble: DdsrError | None = self._refused_write()
        except redis.RedisError as error:
            _LOG.warning("health: %s", remedy(error))
            return QueueHealth(redis=False, trouble=explain(error))
        try:
            trusted = self._trusted(workers)
        except KeyFileError as error:  # our own file is at fault: no worker can be trusted
            trusted, trouble = (), KeyFileError(error.detail)  # without the traceback, which would hold this frame
        self._warn_of({worker.public_key for worker in workers} - {worker.public_key for worker in trusted})
        if trouble is None and not trusted:
            trouble = NoWorker("no live worker with a trusted key")
        return QueueHealth(True, queued, workers, trusted, *numbers, trouble=trouble)

    def _warn_of(self, strangers: set[str]) -> None:
        """A line for each key that was not there at the last look."""
        for key in strangers - self._strangers:
            _LOG.warning("a live worker's key is not trusted; if it is yours, add it to DDSR_WORKER_KEYS_FILE: %s", key)
        self._strangers = strangers

    def _trusted(self, workers: Sequence[WorkerInfo]) -> tuple[WorkerInfo, ...]:
        path = self._settings.worker_keys_file
        if path is None or not workers:
            return tuple(workers)
        pinned = _pinned(path)
        return tuple(worker for worker in workers if worker.public_key in pinned)

    def _oldest(self) -> float:
        """Seconds since the submission of the job at the head of the queue."""
        head = self._redis.lindex(self._queue, 0)
        try:
            created = None if head is None else self._redis.hget(record_key(head.decode()), "created")
            return 0.0 if created is None else max(0.0, time.time() - float(created))
        except (ValueError, redis.ResponseError):  # a forged record
            return 0.0

    def _refused_write(self) -> QueueError | None:
        """Why Redis takes no writes now, or None: asked by one that changes nothing."""
        try:
            self._redis.set(record_key("none"), "", xx=True)
        except redis.RedisError as error:
            return explain(error)
        return None


def _pinned(path: Path) -> set[str]:
    try:
        return {PublicKey.from_text(text).to_text() for text in path.read_text(encoding="ascii").split()}
    except (OSError, UnicodeError):
        raise KeyFileError("the file of the workers' public keys cannot be read") from None
    except EnvelopeError:
        raise KeyFileError("the file of the workers' public keys holds something that is no public key") from None
