"""Where RQ keeps the queue, which holds nothing but ids of jobs. No other file but worker/rq_worker.py knows RQ."""

import re
from dataclasses import dataclass

import redis
from rq import Queue
from rq.intermediate_queue import IntermediateQueue

from shared.settings import QueueSettings

JOB_ID = re.compile(rb"[0-9a-f]{32}")


@dataclass(frozen=True)
class QueueKeys:
    """RQ's lists of ids: those that wait, and those that a worker has taken out and not yet begun."""

    waiting: str
    intermediate: str

    @classmethod
    def of(cls, settings: QueueSettings) -> "QueueKeys":
        waiting = f"{Queue.redis_queue_namespace_prefix}{settings.queue}"
        return cls(waiting, str(IntermediateQueue.get_intermediate_queue_key(waiting)))


def queue_length(connection: redis.Redis, settings: QueueSettings) -> int:
    """How many jobs wait."""
    return int(connection.llen(QueueKeys.of(settings).waiting))
