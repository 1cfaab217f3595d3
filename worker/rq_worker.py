"""RQ's worker, reduced to what DDSR uses of it: it takes ids out of the queue one after the other, so that none is ever
lost on the way, hears signals, and is listed among RQ's workers.

What an id stands for is told by its record (`shared.jobs`): RQ keeps no entry of a job, runs no function, no callback
and no command, and never asks whether another worker lives.
"""

import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import redis
from rq import Queue, SimpleWorker
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job
from rq.timeouts import UnixSignalDeathPenalty
from rq.worker.base import StopRequested
from rq.worker_registration import clean_worker_registry

from shared.jobs.rq import JOB_ID
from shared.settings import QueueSettings

Alarm = UnixSignalDeathPenalty
_ALIVE = 60  # seconds for which RQ lists a worker after its last beat


class IdJob(Job):  # type: ignore[misc]
    """An id out of the queue."""

    def refresh(self) -> None:
        """Nothing to read: whatever stands in Redis under RQ's name for the job is none of ours."""


class IdQueue(Queue):  # type: ignore[misc]
    """RQ's queue, where only somebody else can have put what is no id."""

    @classmethod
    def lmove(cls, connection: Any, queue_key: str, timeout: int | None) -> Any:
        """The next id; what is none is thrown away."""
        while True:
            found = super().lmove(connection, queue_key, timeout)
            if found is None or JOB_ID.fullmatch(found[1]):
                return found
            connection.lrem(IntermediateQueue.get_intermediate_queue_key(queue_key), 0, found[1])


class RqWorker(SimpleWorker):  # type: ignore[misc]
    """One a process (and one a GPU). `work()` returns after SIGTERM or SIGINT, with nothing held.

    `on_job` is called with the id of each job, and returns once that has been dealt with.
    """

    job_class = IdJob
    queue_class = IdQueue
    max_connection_wait_time = 2.0  # seconds between two tries to reach Redis

    def __init__(
        self, connection: redis.Redis, settings: QueueSettings, name: str, on_job: Callable[[str], None]
    ) -> None:
        # RQ's blocking dequeue lasts worker_ttl - 15 seconds: one, so that SIGTERM is heard
        super().__init__([settings.queue], name=name, connection=connection, worker_ttl=16, log_job_description=False)
        self._on_job = on_job
        self._cleaned = float("-inf")
        self.cold = False

    @property
    def asked_to_stop(self) -> bool:
        return bool(self._stop_requested)

    def beat(self) -> None:
        """Stay in RQ's list of workers. Called by the pulse thread, and not for every job as RQ would."""
        super().heartbeat(_ALIVE)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """RQ's hook."""
        self._on_job(job.id)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """See `beat`."""

    def check_for_suspension(self, burst: bool) -> None:
        """No suspension by RQ's command, hence no question for it before every job."""

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """RQ asks just before it dequeues: the one place where nothing is held, so the place to stop."""
        if self._stop_requested:
            raise StopRequested
        return time.monotonic() - self._cleaned > _ALIVE

    def run_maintenance_tasks(self) -> None:
        """Of RQ's own registries only that of its workers is used."""
        clean_worker_registry(self.queues[0])
        self._cleaned = time.monotonic()

    def _shutdown(self) -> None:
        """Warm end: finish what is held. Only a flag, as a signal may arrive between any two instructions."""
        self._stop_requested = True

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        self.cold = True
        super().request_force_stop(signum, frame)

    def subscribe(self) -> None:
        """No remote commands: a running job is cancelled through its record."""

    def unsubscribe(self) -> None:
        """See `subscribe`."""
