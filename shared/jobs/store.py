"""What a service may do with jobs: submit one, look at it, fetch its result, cancel it.

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
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import redis

from shared import tracing
from shared.envelope import Keyring, PrivateKey, PublicKey, seal
from shared.errors import (
    EnvelopeError,
    IdempotencyConflict,
    IdempotencyMismatch,
    JobGone,
    JobNotFound,
    QueueFull,
    QueueUnavailable,
    WorkerLost,
)
from shared.jobs import scripts
from shared.jobs.connection import explain, remedy
from shared.jobs.ids import issued, make_id
from shared.jobs.model import (
    IdempotencyClaim,
    JobPage,
    JobResult,
    JobView,
    Kind,
    QueueHealth,
    Record,
    Request,
    State,
    WorkerInfo,
)
from shared.jobs.rq import QueueKeys
from shared.jobs.workers import Workers
from shared.settings import QueueSettings
from shared.webhooks import check_public, check_url

P = ParamSpec("P")
R = TypeVar("R")
_LOG = logging.getLogger("ddsr.jobs")
_LOOKED = 1000  # entries of an owner's list that one page looks at, at most


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
        self._queue = QueueKeys.of(settings).waiting
        self._workers = Workers(connection, settings)
        self._keys = Keyring.load_or_create(settings.service_keys)
        self._submit = connection.register_script(scripts.SUBMIT)
        self._view = connection.register_script(scripts.VIEW)
        self._list = connection.register_script(scripts.LIST)
        self._read = connection.register_script(scripts.READ)
        self._finish = connection.register_script(scripts.FINISH)

    @_available
    def submit(
        self,
        kind: Kind,
        request: Request,
        *,
        owner: str,
        workers: Sequence[WorkerInfo] = (),
        idempotency: IdempotencyClaim | None = None,
        webhook: str | None = None,
    ) -> JobView:
        """Seal a request and queue it; the job's record and its place in the queue appear in one step.

        Args:
            owner: opaque name of the caller; only it can see the job again.
            workers: whom the request is sealed to, as `workers` gave them; empty: they are looked up.
            idempotency: a key that makes the second submission of the same request give the first job back
                (`JobView.replayed`) once that has ended.
            webhook: address that is told of the job's end.

        Raises:
            QueueFull, NoWorker, QueueUnavailable: 503.
            IdempotencyConflict: the job of this key is still in flight. IdempotencyMismatch: another request.
            InvalidOption: the webhook's address.
        """
        if idempotency is not None and (old := self._claimed(kind, request, owner, idempotency)) is not None:
            return old
        workers = workers or self._workers.trusted()
        recipients = [PublicKey.from_text(text) for text in sorted({worker.public_key for worker in workers})]
        key = self._keys.current
        job_id = make_id(key, kind, owner, time.time())
        reply_key = self._reply_key(key, job_id).public
        message = request.pack(reply_key.to_text(), tracing.origin())
        sealed = seal(message, recipients, scripts.request_context(kind, job_id))
        address = None
        if webhook is not None:
            if not any(worker.private_webhooks for worker in workers):
                check_public(webhook)
            address = seal(check_url(webhook).encode(), recipients, scripts.webhook_context(job_id))
        record = Record(kind, "queued", owner, time.time(), request.batch, key.public.id, webhook=address)
        claim = None if idempotency is None else self._claim(kind, request, owner, idempotency, job_id)
        place = self._enqueue(job_id, record, sealed, claim)
        return self.view(job_id, owner=owner) if place is None else record.view(job_id, place)

    @_available
    def view(self, job_id: str, *, owner: str) -> JobView:
        """The job as it is now; changes nothing. Raises JobNotFound, for another owner's job too."""
        keys = [scripts.record_key(job_id), scripts.result_key(job_id), self._queue]
        found, place, has_result = self._view(keys=keys, args=[job_id])
        record = self._owned(found, owner)
        if record is None:
            return self._forgotten(job_id, owner)
        return record.view(job_id, place, has_result=bool(has_result))

    @_available
    def page(
        self, kind: Kind, *, owner: str, states: Collection[State] = (), cursor: str | None = None, limit: int = 20
    ) -> JobPage:
        """The owner's jobs of a kind, newest first, as long as their records live; changes nothing.

        Args:
            states: which of them; none: all.
            cursor: `JobPage.next` of the page before. Jobs that come meanwhile stand before the first page.
            limit: jobs of the page, 1 at least.
        """
        found: list[JobView] = []
        chunk = max(limit + 1, 100) if states else limit + 1
        for _ in range(0, _LOOKED, chunk):
            start = "+" if cursor is None else f"({cursor}"
            entries = self._list(keys=[scripts.list_key(kind, owner), self._queue], args=[start, chunk])
            for entry, looked in entries:
                if len(found) == limit:
                    return JobPage(tuple(found), cursor)
                cursor = entry.decode()
                view = _listed(cursor[17:], kind, owner, *looked)
                if view is not None and (not states or view.state in states):
                    found.append(view)
            if len(entries) < chunk:
                return JobPage(tuple(found), None)
        return JobPage(tuple(found), cursor)

    @_available
    def result(self, job_id: str, *, owner: str) -> JobResult:
        """Open the result. The first reading shortens its life to `first_read_ttl`, after which it is gone.

        Raises:
            JobNotFound, JobNotReady, JobCancelled, JobGone; of a failed job the error that it failed with.
        """
        keys = [scripts.record_key(job_id), scripts.result_key(job_id)]
        found, sealed = self._read(keys=keys, args=[owner, time.time(), self._settings.first_read_ttl])
        record = self._owned(found, owner)
        if record is None:
            raise self._forgotten(job_id, owner).error or JobGone
        if (error := record.view(job_id, has_result=sealed is not None).error) is not None:
            raise error
        try:
            reply_key = self._reply_key(self._keys.find(record.reply_key), job_id)
            return JobResult.unpack(Keyring([reply_key]).open(sealed, scripts.result_context(record.kind, job_id)))
        except EnvelopeError:
            _LOG.error("the result of job %s cannot be opened with this service's keys", job_id)
            raise JobGone from None

    @_available
    def cancel(self, job_id: str, *, owner: str) -> JobView:
        """End a queued or running job; a worker stops within one diffusion step. The result of a job that has
        ended is dropped at once: `done` becomes `expired`. Every other end stays as it is.
        """
        if not self.view(job_id, owner=owner).terminal:
            keys = [scripts.record_key(job_id), scripts.result_key(job_id), self._queue]
            self._finish(keys=keys, args=[job_id, "", "cancelled", self._settings.tombstone_ttl, 1, "", "", b""])
        self._redis.delete(scripts.result_key(job_id))  # an ended job never gets another one
        return self.view(job_id, owner=owner)

    @_available
    def workers(self) -> tuple[WorkerInfo, ...]:
        """The live workers that this service trusts, one at least.

        Raises:
            NoWorker: there is none. KeyFileError: the file of their public keys cannot be used.
        """
        return self._workers.trusted()

    def health(self) -> QueueHealth:
        """See `Workers.health`."""
        return self._workers.health()

    @staticmethod
    def _owned(found: Sequence[bytes], owner: str) -> Record | None:
        """The record of these fields; None where there are none. JobNotFound: another owner's."""
        if not found:
            return None
        record = Record.of(dict(zip(found[::2], found[1::2], strict=True)))
        if not hmac.compare_digest(record.owner.encode(), owner.encode()):
            raise JobNotFound
        return record

    def _enqueue(
        self, job_id: str, record: Record, sealed: bytes, claim: tuple[str, dict[str, str]] | None
    ) -> int | None:
        """How many jobs wait before it. None: it is there already, for the line broke after an earlier try."""
        self._workers.check_room(len(sealed))
        settings = self._settings
        record_ttl = settings.envelope_ttl + settings.tombstone_ttl
        name, fields = ([], {}) if claim is None else ([claim[0]], claim[1])
        listed = scripts.list_key(record.kind, record.owner)
        stored = [part for pair in record.stored().items() for part in pair]
        call = partial(
            self._submit,
            keys=[scripts.record_key(job_id), scripts.request_key(job_id), self._queue, listed, *name],
            args=[
                *(job_id, settings.queue_limit, settings.queue_ttl + 1, record_ttl, settings.envelope_ttl),
                *(settings.idempotency_ttl, sealed, len(stored), *stored),
                *(part for pair in fields.items() for part in pair),
            ],
        )
        try:
            found = call()
        except redis.ConnectionError:  # the line broke, and Redis may have taken it: the script knows
            found = call()
        if found[0] == b"full":
            raise QueueFull
        if found[0] == b"claimed":
            raise IdempotencyConflict(job_id=found[1].decode())
        return int(found[1]) if found[0] == b"accepted" else None

    def _claimed(self, kind: Kind, request: Request, owner: str, claim: IdempotencyClaim) -> JobView | None:
        """The job of an idempotency key, when it has ended; None for a fresh key."""
        name = scripts.idempotency_key(self._mac(self._keys.public_keys[0].id, "claim", owner, claim.key))
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
        return replace(view, replayed=True)

    def _claim(
        self, kind: Kind, request: Request, owner: str, claim: IdempotencyClaim, job_id: str
    ) -> tuple[str, dict[str, str]]:
        name = scripts.idempotency_key(self._mac(self._keys.public_keys[0].id, "claim", owner, claim.key))
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

    def _forgotten(self, job_id: str, owner: str) -> JobView:
        """No record. By its id it may be a job that Redis must have lost, for its record would still have to live."""
        kind, created = issued(self._keys, job_id, owner) or ("hide", 0.0)
        if time.time() - created > self._settings.tombstone_ttl:
            raise JobNotFound
        detail = "the queue's store lost the job; send the request again"
        return JobView(job_id, kind, "failed", created, error_code=WorkerLost.code, error_detail=detail)


def _listed(
    job_id: str, kind: Kind, owner: str, fields: list[bytes], place: int | None, has_result: int
) -> JobView | None:
    """A job of an owner's list; None for one whose record is gone, or forged."""
    if not fields:
        return None
    try:
        record = Record.of(dict(zip(fields[::2], fields[1::2], strict=True)))
    except EnvelopeError:
        _LOG.warning("the record of job %s cannot be read", job_id)
        return None
    if (record.kind, record.owner) != (kind, owner):
        return None
    return record.view(job_id, place, has_result=bool(has_result))
