"""THE CONTRACT between services and worker: submit a job, look at it, fetch its result, cancel it.

A service needs Redis and two things for secrets. The request (picture, identity prompt, reply key) is sealed
to the public keys of the live workers, so that neither the service afterwards nor a dump of Redis can read
what is queued. The result comes back sealed to the reply key of that job, whose private half is derived from
the service's own key file and the job id: it is stored nowhere, every replica that shares the key file can
fetch every result, and another service cannot.

Every method raises `QueueUnavailable` while Redis is away. Methods block; call them from a thread.
"""

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import redis

from shared import jobs_records as records
from shared.envelope import Keyring, PrivateKey, PublicKey, seal
from shared.errors import (
    DdsrError,
    EnvelopeError,
    IdempotencyConflict,
    IdempotencyMismatch,
    JobGone,
    JobNotFound,
    KeyFileError,
    NoWorker,
    QueueFull,
    QueueUnavailable,
    WorkerLost,
)
from shared.jobs_ids import issued, make_id
from shared.jobs_models import (
    KINDS,
    TERMINAL,
    HideRequest,
    IdempotencyClaim,
    JobResult,
    JobView,
    Kind,
    Picture,
    QueueHealth,
    RecoverRequest,
    Request,
    State,
    WorkerInfo,
    announced,
    view_from_record,
)
from shared.jobs_queue import (
    check_room,
    explain,
    open_asyncio_redis,
    open_queue,
    open_redis,
    push,
    refused_write,
    remedy,
)
from shared.settings import QueueSettings
from shared.webhooks import check_public, check_url

__all__ = [
    "KINDS",
    "TERMINAL",
    "HideRequest",
    "IdempotencyClaim",
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
    "open_queue",
    "open_redis",
]

P = ParamSpec("P")
R = TypeVar("R")
_LOG = logging.getLogger("ddsr.jobs")
_POLL = 0.05  # seconds between two looks at a job that somebody waits for; grows to _POLL_MAX
_POLL_MAX = 0.25


def _available(method: Callable[Concatenate["JobStore", P], R]) -> Callable[Concatenate["JobStore", P], R]:
    @wraps(method)
    def call(self: "JobStore", /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except redis.RedisError as error:
            _LOG.warning("redis failed: %s", remedy(error))
            raise QueueUnavailable(explain(error).detail) from None

    return call


class JobStore:
    """The services' side of the queue. Thread-safe; make one a process."""

    def __init__(self, connection: redis.Redis, settings: QueueSettings) -> None:
        self._redis: Any = connection
        self._settings = settings
        self._queue = open_queue(connection, settings)
        self._keys = Keyring.load_or_create(settings.service_keys)
        self._finish = connection.register_script(records.FINISH)
        self._read = connection.register_script(records.READ)
        self._strangers: set[str] = set()

    @_available
    def submit(
        self,
        kind: Kind,
        request: Request,
        *,
        owner: str,
        idempotency: IdempotencyClaim | None = None,
        webhook: str | None = None,
    ) -> JobView:
        """Seal a request and queue it; the job's record and its queue entry appear in one transaction.

        Args:
            owner: opaque name of the caller; only it can see the job again.
            idempotency: a key that makes the second submission of the same request give the first job back
                (`JobView.replayed`) once that has ended.
            webhook: address that is told of the job's end.

        Raises:
            QueueFull, NoWorker, QueueUnavailable: 503.
            IdempotencyConflict: the job of this key is still in flight. IdempotencyMismatch: another request.
            InvalidOption: the webhook's address. RecipeError, RecipeMismatch: the recipe.
        """
        if idempotency is not None and (old := self._claimed(kind, request, owner, idempotency)) is not None:
            return old
        workers = self._recipients()
        recipients = [PublicKey.from_text(text) for text in sorted({worker.public_key for worker in workers})]
        key = self._keys.current
        job_id = make_id(key, kind, owner, time.time())
        sealed = seal(
            request.pack(self._reply_key(key, job_id).public.to_text()),
            recipients,
            records.request_context(kind, job_id),
        )
        record: dict[str, Any] = {
            "kind": kind,
            "state": "queued",
            "owner": owner,
            "created": time.time(),
            "batch": request.batch,
            "reply_key": key.public.id,
        }
        if webhook is not None:
            if not any(worker.private_webhooks for worker in workers):
                check_public(webhook)
            record["webhook"] = seal(check_url(webhook).encode(), recipients, records.webhook_context(job_id))
        claim = None if idempotency is None else self._claim_record(kind, request, owner, idempotency, job_id)
        self._enqueue(job_id, kind, record, sealed, claim)
        return self.view(job_id, owner=owner)

    @_available
    def view(self, job_id: str, *, owner: str) -> JobView:
        """The job as it is now; one that Redis lost has failed. Raises JobNotFound, for another owner's job too."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(records.record_key(job_id))
            pipe.lpos(self._queue.key, job_id)
            pipe.hget(f"rq:job:{job_id}", "status")
            pipe.exists(records.result_key(job_id))
            record, place, rq_status, has_result = pipe.execute()
        fields = {name.decode(): value for name, value in record.items()}
        if not fields:
            return self._forgotten(job_id, owner)
        if not hmac.compare_digest(fields["owner"], owner.encode()):
            raise JobNotFound
        state: str = fields["state"].decode()
        if state in ("queued", "running") and rq_status in (None, b"failed"):
            return self._lost(job_id, owner, rq_status)
        if state == "done" and not has_result:
            state = "expired"
        return view_from_record(job_id, fields, state, place)

    def wait(self, job_id: str, *, owner: str, timeout: float) -> JobView:
        """The job as soon as it has ended, or as it is after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        pause = _POLL
        while not (view := self.view(job_id, owner=owner)).terminal and time.monotonic() < deadline:
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(_POLL_MAX, pause * 1.3)
        return view

    @_available
    def result(self, job_id: str, *, owner: str) -> JobResult:
        """Open the result. The first reading shortens its life to `first_read_ttl`, after which it is gone.

        Raises:
            JobNotFound, JobNotReady, JobCancelled, JobGone; of a failed job the error that it failed with.
        """
        view = self.view(job_id, owner=owner)
        if (error := view.error) is not None:
            raise error
        keys = [records.record_key(job_id), records.result_key(job_id)]
        sealed = self._read(keys=keys, args=[time.time(), self._settings.first_read_ttl])
        if sealed is None:
            raise JobGone
        key_id = self._redis.hget(records.record_key(job_id), "reply_key")
        try:
            reply_key = self._reply_key(self._keys.find((key_id or b"").decode()), job_id)
            return JobResult.unpack(Keyring([reply_key]).open(sealed, records.result_context(view.kind, job_id)))
        except EnvelopeError:
            _LOG.error("the result of job %s cannot be opened with this service's keys", job_id)
            raise JobGone from None

    @_available
    def cancel(self, job_id: str, *, owner: str) -> JobView:
        """End a queued or running job; a worker stops within one diffusion step. The result of a job that has
        ended is dropped at once: `done` becomes `expired`. Every other end stays as it is.
        """
        view = self.view(job_id, owner=owner)
        if not view.terminal:
            self._end(job_id, "cancelled")
            if self._redis.lrem(self._queue.key, 0, job_id):
                self._redis.delete(f"rq:job:{job_id}")
        self._redis.delete(records.result_key(job_id))  # an ended job never gets another one
        return self.view(job_id, owner=owner)

    def health(self) -> QueueHealth:
        """Whether Redis answers and takes writes, how many jobs wait, which workers live. What stands in the way of a
        job is `trouble`, not raised: metrics want the rest as well.
        """
        try:
            workers, queued = tuple(self._workers()), int(self._redis.llen(self._queue.key))
            memory = self._redis.info("memory")
            numbers = (self._oldest(), int(memory["used_memory"]), int(memory["maxmemory"]), self._settings.queue_limit)
            trouble: DdsrError | None = refused_write(self._redis)
        except redis.RedisError as error:
            _LOG.warning("health: %s", remedy(error))
            return QueueHealth(redis=False, trouble=explain(error))
        try:
            trusted = tuple(worker for worker in workers if self._trusts(worker))
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

    def _enqueue(
        self,
        job_id: str,
        kind: Kind,
        record: dict[str, Any],
        sealed: bytes,
        claim: tuple[str, dict[str, Any]] | None,
    ) -> None:
        """One transaction. A queue or an idempotency key that changed under it makes it start again, and so does a
        connection that breaks: the transaction may have been done all the same, hence the look for our record.
        """
        settings = self._settings
        check_room(self._redis, len(sealed))
        watched = [self._queue.key] if claim is None else [self._queue.key, claim[0]]
        for _ in range(100):
            try:
                with self._redis.pipeline(transaction=True) as pipe:
                    pipe.watch(*watched)
                    if pipe.exists(records.record_key(job_id)):
                        return
                    if pipe.llen(self._queue.key) >= settings.queue_limit:
                        raise QueueFull
                    if claim is not None and (holder := pipe.hget(claim[0], "job")) is not None:
                        raise IdempotencyConflict(job_id=holder.decode())
                    late = pipe.time()[0] + settings.queue_ttl + 1
                    pipe.multi()
                    pipe.zadd(records.WATCHED, {job_id: late})
                    pipe.hset(records.record_key(job_id), mapping=record)
                    pipe.expire(records.record_key(job_id), settings.envelope_ttl + settings.tombstone_ttl)
                    pipe.set(records.request_key(job_id), sealed, ex=settings.envelope_ttl)
                    if claim is not None:
                        pipe.hset(claim[0], mapping=claim[1])
                        pipe.expire(claim[0], settings.idempotency_ttl)
                    push(self._queue, job_id, kind, settings, pipe)
                    pipe.execute()
                return
            except redis.WatchError:
                continue
        raise QueueUnavailable("the queue is too busy")

    def _claimed(self, kind: Kind, request: Request, owner: str, claim: IdempotencyClaim) -> JobView | None:
        """The job of an idempotency key, when it has ended; None for a fresh key."""
        name = records.idempotency_key(self._mac(self._keys.public_keys[0].id, "claim", owner, claim.key))
        held = {field.decode(): value.decode() for field, value in self._redis.hgetall(name).items()}
        if not held:
            return None
        if not hmac.compare_digest(held["fingerprint"], self._fingerprint(held["key"], kind, request)):
            raise IdempotencyMismatch
        try:
            view = self.view(held["job"], owner=owner)
        except JobNotFound:
            return None
        if not view.terminal:
            raise IdempotencyConflict(job_id=view.id)
        return JobView(**{**view.__dict__, "replayed": True})

    def _claim_record(
        self, kind: Kind, request: Request, owner: str, claim: IdempotencyClaim, job_id: str
    ) -> tuple[str, dict[str, Any]]:
        name = records.idempotency_key(self._mac(self._keys.public_keys[0].id, "claim", owner, claim.key))
        key_id = self._keys.current.public.id
        fingerprint = self._fingerprint(key_id, kind, request)
        return name, {"job": job_id, "key": key_id, "fingerprint": fingerprint}

    def _fingerprint(self, key_id: str, kind: Kind, request: Request) -> str:
        content = hashlib.sha256(request.pack("")).hexdigest()
        try:
            return self._mac(key_id, "fingerprint", kind, content)
        except EnvelopeError:
            return ""  # the key was destroyed: nothing can match any more

    def _mac(self, key_id: str, label: str, *parts: str) -> str:
        """A keyed fingerprint; a plain hash of a prompt could be guessed offline."""
        secret = self._keys.find(key_id).derive(f"ddsr/v1|{label}")
        return hmac.new(secret, json.dumps(parts).encode(), "sha256").hexdigest()

    @staticmethod
    def _reply_key(key: PrivateKey, job_id: str) -> PrivateKey:
        return PrivateKey(key.derive(f"ddsr/v1|reply|{job_id}"))

    def _workers(self) -> list[WorkerInfo]:
        names = sorted(name.decode() for name in self._redis.smembers(records.WORKERS))
        found = self._redis.mget([records.worker_key(name) for name in names]) if names else []
        for name, text in zip(names, found, strict=True):
            if text is None:
                self._redis.srem(records.WORKERS, name)
        return [worker for text in found if text is not None and (worker := announced(text)) is not None]

    def _oldest(self) -> float:
        """Seconds since the submission of the job at the head of the queue."""
        head = self._redis.lindex(self._queue.key, 0)
        try:
            created = None if head is None else self._redis.hget(records.record_key(head.decode()), "created")
            return 0.0 if created is None else max(0.0, time.time() - float(created))
        except (ValueError, redis.ResponseError):  # a forged record
            return 0.0

    def _recipients(self) -> list[WorkerInfo]:
        workers = [worker for worker in self._workers() if self._trusts(worker)]
        if not workers:
            raise NoWorker
        return workers

    def _trusts(self, worker: WorkerInfo) -> bool:
        path = self._settings.worker_keys_file
        return path is None or worker.public_key in _pinned(path)

    def _lost(self, job_id: str, owner: str, rq_status: bytes | None) -> JobView:
        """The queue no longer knows a job that has not ended: it waited too long, or lost every worker."""
        if rq_status is None:
            self._end(job_id, "expired")
        else:
            self._end(job_id, "failed", WorkerLost.code)
        return self.view(job_id, owner=owner)

    def _forgotten(self, job_id: str, owner: str) -> JobView:
        """No record. By its id it may be a job that Redis must have lost, for its record would still have to live."""
        kind, created = issued(self._keys, job_id, owner) or ("hide", 0.0)
        if time.time() - created > self._settings.tombstone_ttl:
            raise JobNotFound
        detail = "the queue's store lost the job; send the request again"
        return JobView(job_id, kind, "failed", created, error_code=WorkerLost.code, error_detail=detail)

    def _end(self, job_id: str, state: State, code: str = "") -> None:
        keys = [
            records.record_key(job_id),
            records.request_key(job_id),
            records.result_key(job_id),
            records.WATCHED,
        ]
        ttl = self._settings.tombstone_ttl
        self._finish(keys=keys, args=["", state, time.time(), job_id, ttl, 1, code, "", b""])


def _pinned(path: Path) -> set[str]:
    try:
        return {PublicKey.from_text(text).to_text() for text in path.read_text(encoding="ascii").split()}
    except (OSError, UnicodeError):
        raise KeyFileError("the file of the workers' public keys cannot be read") from None
    except EnvelopeError:
        raise KeyFileError("the file of the workers' public keys holds something that is no public key") from None
