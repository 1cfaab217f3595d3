"""The worker's side of a job's record: claim it, open its request, report steps, finish it, announce the
worker.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import redis

from shared import jobs_records as records
from shared.envelope import Keyring, PublicKey, recipients_of, seal
from shared.errors import DdsrError, EnvelopeError
from shared.jobs_models import JobResult, Kind, Request, State, WorkerInfo, announced, unpack_request
from shared.settings import QueueSettings

_LOOK = 30.0  # seconds between two looks at a job that began late, or computes for long


@dataclass(frozen=True)
class Claim:
    """What a try to take a job gave. `state` 'running': it is ours; 'exhausted': one attempt too many."""

    state: str
    attempts: int


@dataclass(frozen=True, repr=False)
class OpenJob:
    """A claimed job with its request in the clear. Lives in memory only."""

    id: str
    kind: Kind
    execution: str
    request: Request
    batch: str
    reply_key: PublicKey
    created: float


class Desk:
    """Thread-safe. Methods raise redis.RedisError while Redis is away."""

    def __init__(self, connection: redis.Redis, settings: QueueSettings, keys: Keyring) -> None:
        self._redis: Any = connection
        self._settings = settings
        self._keys = keys
        self._claim = connection.register_script(records.CLAIM)
        self._progress = connection.register_script(records.PROGRESS)
        self._finish = connection.register_script(records.FINISH)
        self._drain = connection.register_script(records.DRAIN)
        self._due = connection.register_script(records.DUE)
        self._told = connection.register_script(records.TOLD)

    def batch_of(self, job_id: str) -> str | None:
        """The batch name of a fresh job; None for one that was tried before (it runs alone) or is unknown."""
        try:
            with _readable():
                batch, attempts = self._redis.hmget(records.record_key(job_id), "batch", "attempts")
            return batch.decode() if batch is not None and int(attempts or 0) == 0 else None
        except (ValueError, EnvelopeError):
            return None

    def company(self, batch: str, count: int, queue: str, intermediate: str) -> list[str]:
        """Take up to `count` more fresh jobs of one batch out of the queue; their ids wait in the
        intermediate one.
        """
        keys = [queue, intermediate]
        found = self._drain(keys=keys, args=[records.PREFIX, batch, count, 8 * count + 8])
        return [job_id.decode() for job_id in found]

    def for_others(self, job_id: str) -> bool:
        """Whether a job's request is there but sealed to other workers' keys only."""
        try:
            with _readable():
                sealed = self._redis.get(records.request_key(job_id))
            return sealed is not None and not self._keys.can_open(sealed)
        except EnvelopeError:
            return False  # damaged: claim it, so that it fails

    def claim(self, job_id: str, execution: str, worker: str) -> Claim:
        """Take a job, from whoever held it. An execution that was taken over can do no harm any more.

        Raises:
            EnvelopeError: there is something else in the place of the record.
        """
        keys = [records.record_key(job_id)]
        args: list[Any] = [execution, time.time(), worker, self._settings.retries + 1]
        with _readable():
            state, attempts = self._claim(keys=keys, args=args)
        return Claim(state.decode(errors="replace"), int(attempts))

    def open(self, job_id: str, kind: Kind, execution: str) -> OpenJob:
        """Open the request of a claimed job.

        Raises:
            EnvelopeError: it is gone, damaged, of another job or kind, or its key was destroyed; or the record is.
            RecipeError: of a request whose recipe cannot be read.
        """
        try:
            with _readable():
                sealed = self._redis.get(records.request_key(job_id))
                created = float(self._redis.hget(records.record_key(job_id), "created") or 0)
        except ValueError:
            raise EnvelopeError from None
        if sealed is None:
            raise EnvelopeError
        request, reply = unpack_request(kind, self._keys.open(sealed, records.request_context(kind, job_id)))
        return OpenJob(job_id, kind, execution, request, request.batch, PublicKey.from_text(reply), created)

    def progress(self, jobs: Sequence[OpenJob], step: int, steps: int) -> list[bool]:
        """Report step k of n; says of each job whether it is still ours (not cancelled, not taken over)."""
        keys = [records.record_key(job.id) for job in jobs]
        args: list[Any] = [step, steps, *(job.execution for job in jobs)]
        return [held == 1 for held in self._progress(keys=keys, args=args)]

    def done(self, job: OpenJob, result: JobResult) -> bool:
        """Store the result, sealed to the reply key. False when the job was not ours any more.

        Raises:
            EnvelopeError: the reply key is none.
        """
        sealed = seal(result.pack(), [job.reply_key], records.result_context(job.kind, job.id))
        return self._end(job.id, job.execution, "done", sealed=sealed)

    def failed(self, job_id: str, execution: str, error: DdsrError) -> bool:
        """End a job with a coded error; an empty `execution` ends it whoever holds it."""
        return self._end(job_id, execution, "failed", error)

    def state(self, job_id: str) -> str | None:
        try:
            with _readable():
                state = self._redis.hget(records.record_key(job_id), "state")
            return None if state is None else state.decode()
        except (ValueError, EnvelopeError):
            return None

    def announce(self, info: WorkerInfo, ttl: int) -> None:
        """Tell the services that this worker lives, with its public key and its model."""
        with self._redis.pipeline() as pipe:
            pipe.sadd(records.WORKERS, info.name)
            pipe.set(records.worker_key(info.name), json.dumps(asdict(info)), ex=ttl)
            pipe.execute()

    def other_model(self, own: str) -> str | None:
        """The fingerprint of a live worker's model that is not `own`, or None."""
        names = sorted(name.decode() for name in self._redis.smembers(records.WORKERS))
        found = self._redis.mget([records.worker_key(name) for name in names]) if names else []
        workers = [announced(text) for text in found if text is not None]
        return next((worker.model for worker in workers if worker is not None and worker.model != own), None)

    def withdraw(self, name: str) -> None:
        with self._redis.pipeline() as pipe:
            pipe.srem(records.WORKERS, name)
            pipe.delete(records.worker_key(name))
            pipe.execute()

    def due_webhook(self, lease: float) -> tuple[str, str, str, int] | None:
        """A webhook to send now: job id, address, status, number of the attempt. Others leave it for `lease`
        s.

        One that is sealed to other workers' keys stays for them. On the way, jobs for which nobody came in time end.
        """
        while (due := self._due(keys=[records.WATCHED], args=[lease])) is not None:
            try:
                with _readable():
                    found = self._webhook(due.decode())
            except (ValueError, EnvelopeError):  # forged
                self._redis.zrem(records.WATCHED, due)
                continue
            if found is not None:
                return found
        return None

    def _webhook(self, job_id: str) -> tuple[str, str, str, int] | None:
        """What to send for a job that is due, if anything."""
        name = records.record_key(job_id)
        sealed, state = self._redis.hmget(name, "webhook", "state")
        if state in (b"queued", b"running"):
            if self._redis.exists(f"rq:job:{job_id}"):
                self.delay_webhook(job_id, _LOOK)
            else:
                self._end(job_id, "", "expired")  # which makes it due at once, if there is somebody to tell
            return None
        if sealed is None or state is None:
            self._redis.zrem(records.WATCHED, job_id)
            return None
        if not set(recipients_of(sealed)) & {key.id for key in self._keys.public_keys}:
            return None
        url = self._keys.open(sealed, records.webhook_context(job_id)).decode()
        return job_id, url, state.decode(), int(self._redis.hincrby(name, "webhook_attempts", 1))

    def delay_webhook(self, job_id: str, seconds: float) -> None:
        self._redis.zadd(records.WATCHED, {job_id: self._redis.time()[0] + seconds})

    def end_webhook(self, job_id: str, end: Literal["sent", "given-up"], reason: str = "") -> None:
        """The address is forgotten; how it ended, and why it was given up, stays in the record for the job's owner."""
        self._told(keys=[records.record_key(job_id), records.WATCHED], args=[job_id, end, reason])

    def _end(
        self, job_id: str, execution: str, state: State, error: DdsrError | None = None, sealed: bytes = b""
    ) -> bool:
        keys = [records.record_key(job_id), records.request_key(job_id), records.result_key(job_id)]
        code, detail = ("", "") if error is None else (error.code, error.detail)
        times = [self._settings.tombstone_ttl, self._settings.result_ttl]
        args: list[Any] = [execution, state, time.time(), job_id, *times, code, detail, sealed]
        try:
            with _readable():
                return bool(self._finish(keys=[*keys, records.WATCHED], args=args) == 1)
        except EnvelopeError:
            return False  # no record is left to write to


@contextmanager
def _readable() -> Iterator[None]:
    """EnvelopeError for a key of the wrong type, which only a forger makes: the fault of one job, whereas every other
    error of Redis is everybody's.
    """
    try:
        yield
    except redis.ResponseError as error:
        if "WRONGTYPE" in str(error):
            raise EnvelopeError from None
        raise
