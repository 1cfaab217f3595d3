"""Memory of the parts and contents of Redis, every few seconds while the callers are at work."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

from figures.memory import MIB, resident
from shared.jobs.rq import queue_length
from shared.jobs.scripts import PREFIX
from shared.settings import QueueSettings

PREFIXES = ("ddsr:jobs", "ddsr:idempotency", "ddsr:limits", "rq:")


@dataclass(frozen=True)
class Sample:
    """`rss` in MiB by part, `keys` by kind, `redis_memory` (its own count) and `aof` in MiB, `queued` jobs."""

    seconds: float
    rss: Mapping[str, float]
    keys: Mapping[str, int]
    redis_memory: float
    aof: float
    queued: int


@dataclass
class Sampler:
    """`pids` and `connect` are those of the stack. Use as a context manager."""

    pids: Callable[[], Mapping[str, int]]
    connect: Callable[[], redis.Redis]
    queue: str
    pause: float = 2.0
    samples: list[Sample] = field(default_factory=list)

    def __enter__(self) -> "Sampler":
        self._stop = threading.Event()
        self._start = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        client: Any = self.connect()
        while not self._stop.wait(self.pause):
            info = client.info()
            self.samples.append(
                Sample(
                    seconds=round(time.monotonic() - self._start, 2),
                    rss={name: resident(pid) for name, pid in self.pids().items()},
                    keys=count_keys(client),
                    redis_memory=info["used_memory"] / MIB,
                    aof=info.get("aof_current_size", 0) / MIB,
                    queued=queue_length(client, QueueSettings(queue=self.queue)),
                )
            )
        client.close()


def count_keys(client: Any) -> dict[str, int]:
    """Keys of Redis by what they are; `request` and `result` are sealed pictures, `record` a job's own hash."""
    found = Counter(_kind(name.decode(errors="replace")) for name in client.scan_iter(count=1000))
    return {"all": sum(found.values()), **found}


def _kind(name: str) -> str:
    if name.startswith(PREFIX):
        tail = name.rsplit(":", 1)[1]
        return tail if tail in ("request", "result") else "record"
    return next((prefix for prefix in PREFIXES if name.startswith(prefix)), "other")
