"""THE CONTRACT between services and worker: a job's life, from its submission to its end. docs/queue.md tells it.

A service needs `JobStore`, a worker `Lease`; nothing outside this package knows a key or a field of a job in Redis.
"""

from shared.jobs.connection import open_asyncio_redis, open_redis
from shared.jobs.model import (
    KINDS,
    TERMINAL,
    HideRequest,
    IdempotencyClaim,
    JobPage,
    JobResult,
    JobView,
    Kind,
    Picture,
    QueueHealth,
    RecoverRequest,
    State,
    WorkerInfo,
)
from shared.jobs.store import JobStore

__all__ = [
    "KINDS",
    "TERMINAL",
    "HideRequest",
    "IdempotencyClaim",
    "JobPage",
    "JobResult",
    "JobStore",
    "JobView",
    "Kind",
    "Picture",
    "QueueHealth",
    "RecoverRequest",
    "State",
    "WorkerInfo",
    "open_asyncio_redis",
    "open_redis",
]
