"""What a worker may do with jobs: take one, beat and report steps while it computes, finish it, give it back; and reap
those that others abandoned.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import redis

from shared.envelope import Keyring, PublicKey, seal
from shared.errors import DdsrError, EnvelopeError, WorkerLost
from shared.jobs import scripts
from shared.jobs.model import KINDS, JobResult, Kind, Request, State, unpack_request
from shared.jobs.rq import QueueKeys
from shared.settings import QueueSettings
from shared.tracing import Origin

_LOST = "every attempt ended with the loss of its worker"


@dataclass(frozen=True, repr=False)
class Waiting:
    """A job out of the queue, not yet taken. `batch` is None for one that was tried before: it runs alone. What Redis
    should hold and does not, or in another form, is None.
    """

    id: str
    kind: Kind
    batch: str | None
    created: float | None
    sealed: bytes | None


@dataclass(frozen=True)
class Taken:
    """A try to take a job. `state` 'taken': it is ours, by `execution`; else what it was instead."""

    state: str
    attempts: int
    execution: str


@dataclass(frozen=True, repr=False)
class OpenJob:
    """A taken job with its request in the clear. Lives in memory only."""

    id: str
    kind: Kind
    execution: str
    request: Request
    batch: str
    reply_key: PublicKey
    created: float
    origin: Origin


@dataclass(frozen=True)
class Reaped:
    """A job that its worker had abandoned, or that nobody took in time, and what became of it."""

    id: str
    kind: Kind
    state: Literal["queued", "failed", "expired"]


class Lease:
    """Thread-safe. Methods raise redis.RedisError while Redis is away.

    A job is held for `seconds` after it was taken, and after each `beat`, and half as long again after a `reap` that
    found it silent; the next one gives it to another.
    """

    def __init__(
        self, connection: redis.Redis, settings: QueueSettings, keys: Keyring, *, worker: str, seconds: int
    ) -> None:
        self._redis: Any = connection
        self._settings = settings
        self._keys = keys
        self._worker = worker
        self._seconds = seconds
        self._queue = QueueKeys.of(settings)
        self._lists = [self._queue.waiting, self._queue.intermediate]
        self._take = connection.register_script(scripts.TAKE)
        self._drain = connection.register_script(scripts.DRAIN)
        self._give_back = connection.register_script(scripts.GIVE_BACK)
        self._beat = connection.register_script(scripts.BEAT)
        self._progress = connection.register_script(scripts.PROGRESS)
        self._finish = connection.register_script(scripts.FINISH)
        self._reap = connection.register_script(scripts.REAP)

    def look(self, job_ids: Sequence[str]) -> list[Waiting]:
        """What is known of jobs that were taken out of the queue."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hmget(scripts.record_key(job_id), "kind", "batch", "attempts", "created")
                pipe.get(scripts.request_key(job_id))
            found = pipe.execute(raise_on_error=False)
        pairs = zip(job_ids, found[::2], found[1::2], strict=True)
        return [
            _waiting(job_id, _readable(record) or [None] * 4, _readable(sealed)) for job_id, record, sealed in pairs
        ]

    def company(self, batch: str, count: int) -> list[Waiting]:
        """Up to `count` more fresh jobs of one batch, taken out of the queue."""
        found = self._drain(keys=self._lists, args=[batch, count, 8 * count + 8])
        return self.look([job_id.decode() for job_id in found]) if found else []

    def for_others(self, job: Waiting) -> bool:
        """Whether a job's request is sealed to other workers' keys only."""
        try:
            return job.sealed is not None and not self._keys.can_open(job.sealed)
        except EnvelopeError:
            return False  # damaged: take it, so that it fails

    def give_back(self, job: Waiting) -> None:
        """Put a job that was not taken to the end of the queue."""
        self._give_back(keys=self._lists, args=[job.id])

    def take(self, job: Waiting) -> Taken:
        """Take a queued job. What is no queued job leaves the queue for good."""
        execution = secrets.token_hex(16)
        keys = [scripts.record_key(job.id), self._queue.intermediate]
        state, attempts = self._take(keys=keys, args=[job.id, execution, self._worker, self._seconds])
        return Taken(state.decode(errors="replace"), int(attempts), execution)

    def open(self, job: Waiting, execution: str) -> OpenJob:
        """Open the request of a taken job.

        Raises:
            EnvelopeError: it is gone, damaged, of another job or kind, or its key was destroyed; or the record is.
            RecipeError: of a request whose recipe cannot be read.
        """
        if job.sealed is None or job.created is None:
            raise EnvelopeError
        data = self._keys.open(job.sealed, scripts.request_context(job.kind, job.id))
        request, reply, origin = unpack_request(job.kind, data)
        reply_key = PublicKey.from_text(reply)
        return OpenJob(job.id, job.kind, execution, request, request.batch, reply_key, job.created, origin)

    def beat(self, executions: Iterable[tuple[str, str]]) -> None:
        """Hold jobs, named by id and execution, for a while longer; one that was given away stays so."""
        held = list(executions)
        keys = [scripts.record_key(job_id) for job_id, _ in held]
        self._beat(keys=keys, args=[self._seconds, *(part for pair in held for part in pair)])

    def progress(self, jobs: Sequence[OpenJob], step: int, steps: int) -> list[bool]:
        """Report step k of n; says of each job whether it is still ours (not cancelled, not given away)."""
        keys = [scripts.record_key(job.id) for job in jobs]
        args: list[Any] = [step, steps, *(job.execution for job in jobs)]
        return [held == 1 for held in self._progress(keys=keys, args=args)]

    def done(self, job: OpenJob, result: JobResult) -> bool:
        """Store the result, sealed to the reply key. False when the job was not ours any more.

        Raises:
            EnvelopeError: the reply key is none.
        """
        sealed = seal(result.pack(), [job.reply_key], scripts.result_context(job.kind, job.id))
        return self._end(job.id, job.execution, "done", sealed=sealed)

    def failed(self, job_id: str, execution: str, error: DdsrError) -> bool:
        """End a job with a coded error. False when it was not ours any more."""
        return self._end(job_id, execution, "failed", error)

    def reap(self, stuck_after: int) -> list[Reaped]:
        """End or queue again every job that its worker abandoned, that left the queue and was not taken for
        `stuck_after` seconds, or that waited too long. The only place that decides so.
        """
        settings = self._settings
        times, grace = [settings.queue_ttl + 1, stuck_after, settings.tombstone_ttl], max(1, self._seconds // 2)
        found = self._reap(keys=self._lists, args=[settings.retries + 1, *times, WorkerLost.code, _LOST, grace])
        return [Reaped(name.decode(errors="replace"), _kind(kind), state.decode()) for name, kind, state in found]

    def queued(self) -> int:
        """How many jobs wait."""
        return int(self._redis.llen(self._queue.waiting))

    def _end(
        self, job_id: str, execution: str, state: State, error: DdsrError | None = None, sealed: bytes = b""
    ) -> bool:
        keys = [scripts.record_key(job_id), scripts.result_key(job_id), self._queue.waiting]
        code, detail = ("", "") if error is None else (error.code, error.detail)
        times = [self._settings.tombstone_ttl, self._settings.result_ttl]
        return bool(self._finish(keys=keys, args=[job_id, execution, state, *times, code, detail, sealed]) == 1)


def _waiting(job_id: str, record: Sequence[bytes | None], sealed: bytes | None) -> Waiting:
    kind, batch, attempts, created = record
    try:
        fresh = batch.decode() if batch is not None and int(attempts or 0) == 0 else None
        return Waiting(job_id, _kind(kind), fresh, None if created is None else float(created), sealed)
    except ValueError:
        return Waiting(job_id, _kind(kind), None, None, sealed)


def _kind(name: bytes | None) -> Kind:
    """A forged kind counts as the first one: the request, bound to its own, does not open as that."""
    return next((kind for kind in KINDS if name == kind.encode()), KINDS[0])


def _readable(found: Any) -> Any:
    """None for a key of the wrong type, which only a forger makes: the fault of one job, whereas every other error of
    Redis is everybody's.
    """
    if not isinstance(found, redis.RedisError):
        return found
    if isinstance(found, redis.ResponseError) and "WRONGTYPE" in str(found):
        return None
    raise found
