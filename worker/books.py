"""RQ's books, kept to what is needed of them: the queue, the ids in between, and who beats for which job.

The authoritative state of a job is its record (`shared.jobs_records`). RQ moves ids, finds those whose worker fell
silent and queues them again; it performs nothing, and what it writes down about a job is removed at the job's end.

All times are the Redis server's, so that neither a worker's clock that jumps nor two that differ make a living worker
look silent, or a silent one alive.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.utils import as_text

from shared.jobs_models import TASKS

_ID = re.compile(rb"[0-9a-f]{32}")
_EXECUTIONS = "rq:executions:"


def server_time(connection: Any) -> int:
    """Seconds since the epoch by the Redis server."""
    return int(connection.time()[0])


class IdJob(Job):  # type: ignore[misc]
    """A queue entry: one of our functions, to be called with its own id. Everything else that RQ could run is
    ignored.
    """

    def is_ours(self) -> bool:
        try:
            return self.func_name in TASKS and tuple(self.args) == (self.id,) and not self.kwargs
        except Exception:
            return False  # data that does not even parse

    def refresh(self) -> None:
        """An entry that cannot be read is none: it must not end every worker that meets it."""
        try:
            super().refresh()
        except (redis.ConnectionError, redis.TimeoutError, NoSuchJobError):
            raise
        except Exception:
            raise NoSuchJobError from None

    @property
    def started_job_registry(self) -> "Started":
        return Started(self.origin, connection=self.connection, job_class=IdJob, serializer=self.serializer)

    def execute_failure_callback(self, *args: Any) -> None:
        """Callbacks are names in Redis: not run."""

    def send_webhooks(self, *args: Any, **kwargs: Any) -> None:
        """RQ's own webhooks would carry an error's text: not sent."""


class Started(StartedJobRegistry):  # type: ignore[misc]
    """Executions and the server's time at which each counts as abandoned."""

    def add_execution(self, execution: Execution, pipeline: Any, ttl: int = 0, xx: bool = False) -> Any:
        score = server_time(self.connection) + ttl
        return pipeline.zadd(self.key, {execution.composite_key: score}, xx=xx)

    def get_expired_job_ids(self, timestamp: float | None = None) -> list[str]:
        """Each job once, however many of its executions were abandoned."""
        return list(dict.fromkeys(super().get_expired_job_ids(timestamp)))

    def cleanup(self, timestamp: float | None = None, exception_handlers: list[Any] | None = None) -> None:
        now = server_time(self.connection) if timestamp is None else timestamp
        super().cleanup(now, exception_handlers)


class Intermediate(IntermediateQueue):  # type: ignore[misc]
    """Ids that were taken and not yet begun."""

    stuck_after = 15

    def get_job_ids(self) -> list[str]:
        return [name.decode() for name in self.connection.lrange(self.key, 0, -1) if _ID.fullmatch(name)]

    def set_first_seen(self, job_id: str) -> bool:
        key = self.get_first_seen_key(job_id)
        return bool(self.connection.set(key, server_time(self.connection), nx=True, ex=3600 * 24))

    def should_be_cleaned_up(self, job_id: str) -> bool:
        seen = self.connection.get(self.get_first_seen_key(job_id))
        return seen is not None and server_time(self.connection) - float(seen) > self.stuck_after

    def remove(self, job_id: str) -> None:
        super().remove(job_id)
        self.connection.delete(self.get_first_seen_key(job_id))


class IdQueue(Queue):  # type: ignore[misc]
    """RQ's queue with a maintenance lock that dies soon with its owner, and a shorter wait for stuck ids."""

    job_class = IdJob

    @classmethod
    def lmove(cls, connection: Any, queue_key: str, timeout: int | None) -> Any:
        """The next id; what is no id at all is thrown away."""
        while True:
            found = super().lmove(connection, queue_key, timeout)
            if found is None or _ID.fullmatch(found[1]):
                return found
            connection.lrem(cls.between(queue_key), 0, found[1])

    @staticmethod
    def between(queue_key: str) -> str:
        """Key of the intermediate queue."""
        return str(IntermediateQueue.get_intermediate_queue_key(queue_key))

    def entries(self, job_ids: Sequence[str]) -> list[Job]:
        """Those of these ids that can be read."""
        found = [self.fetch_job(job_id) for job_id in job_ids]
        return [job for job in found if job is not None]

    @property
    def started_job_registry(self) -> Started:
        return Started(queue=self, job_class=IdJob)

    def acquire_maintenance_lock(self) -> bool:
        return bool(self.connection.set(self.registry_cleaning_key, 1, nx=True, ex=30))

    @property
    def intermediate_queue(self) -> IntermediateQueue:
        return Intermediate(self.key, self.connection)


@dataclass(frozen=True)
class Held:
    """A queue entry that this worker has begun."""

    job: Job
    execution: Execution


def discard(job: Job, queue: IdQueue) -> None:
    """Forget an entry that is none of ours."""
    with queue.connection.pipeline() as pipe:
        pipe.delete(job.key)
        pipe.lrem(queue.intermediate_queue_key, 0, job.id)
        pipe.execute()


def give_back(job: Job, queue: IdQueue) -> None:
    """Put an entry that was not begun back to the end of the queue."""
    with queue.connection.pipeline() as pipe:
        pipe.lrem(queue.intermediate_queue_key, 1, job.id)
        queue.push_job_id(job.id, pipeline=pipe)
        pipe.execute()


def begin(job: Job, queue: IdQueue, worker: str, ttl: int) -> Held:
    """Write down that a worker has begun an entry. From here on the entry lives until `close`, however long the
    computation takes; RQ would let it expire with the time that it may wait.
    """
    with queue.connection.pipeline() as pipe:
        execution = Execution.create(job, ttl, pipeline=pipe, worker_name=worker)
        pipe.persist(job.key)
        pipe.lrem(queue.intermediate_queue_key, 1, job.id)
        pipe.execute()
    return Held(job, execution)


def close(held: Held, queue: IdQueue, *, ended: bool) -> None:
    """Forget an execution; once the job's record has ended, also everything else that RQ knows of the job.

    RQ's own end of a job cannot be used: it stumbles over executions that died, and deletes the entry under the feet
    of whoever took the job over.
    """
    job, execution = held.job, held.execution
    registry = queue.started_job_registry
    with queue.connection.pipeline() as pipe:
        execution.delete(job=job, pipeline=pipe)
        if ended:
            ids = [as_text(name) for name in queue.connection.zrange(_EXECUTIONS + job.id, 0, -1)]
            for other in ids:
                pipe.zrem(registry.key, f"{job.id}:{other}")
            pipe.delete(job.key, _EXECUTIONS + job.id)
            pipe.lrem(queue.key, 0, job.id)
        pipe.execute()
