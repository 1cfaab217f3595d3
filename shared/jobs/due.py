"""Webhooks that are due: leased to one worker at a time, put off, or ended."""

from dataclasses import dataclass
from typing import Any

import redis

from shared.envelope import Keyring, recipients_of
from shared.errors import EnvelopeError
from shared.jobs import scripts
from shared.jobs.model import WebhookEnd


@dataclass(frozen=True, repr=False)
class Due:
    """A webhook to tell now; `status` is the job's state, `attempt` counts from 1."""

    job_id: str
    url: str
    status: str
    attempt: int


class DueWebhooks:
    """Thread-safe. Methods raise redis.RedisError while Redis is away."""

    def __init__(self, connection: redis.Redis, keys: Keyring) -> None:
        self._redis: Any = connection
        self._keys = keys
        self._due = connection.register_script(scripts.DUE)
        self._told = connection.register_script(scripts.TOLD)

    def next(self, lease: float) -> Due | None:
        """A webhook to tell; other workers leave it alone for `lease` seconds. One that is sealed to other workers'
        keys stays for them.
        """
        while (due := self._due(keys=[scripts.WEBHOOKS], args=[lease])) is not None:
            try:
                found = self._open(due.decode())
            except (ValueError, EnvelopeError):  # forged
                self._redis.zrem(scripts.WEBHOOKS, due)
                continue
            if found is not None:
                return found
        return None

    def delay(self, job_id: str, seconds: float) -> None:
        """Try again in so many seconds."""
        self._redis.zadd(scripts.WEBHOOKS, {job_id: self._redis.time()[0] + seconds})

    def end(self, job_id: str, end: WebhookEnd, reason: str = "") -> None:
        """The address is forgotten; how it ended, and why it was given up, stays in the record for the job's owner."""
        self._told(keys=[scripts.record_key(job_id), scripts.WEBHOOKS], args=[job_id, end, reason])

    def _open(self, job_id: str) -> Due | None:
        """None for one that only other workers can open. EnvelopeError: there is none."""
        record = scripts.record_key(job_id)
        try:
            sealed, state = self._redis.hmget(record, "webhook", "state")
        except redis.ResponseError as error:
            if "WRONGTYPE" in str(error):
                raise EnvelopeError from None
            raise
        if sealed is None or state is None:
            raise EnvelopeError
        if not set(recipients_of(sealed)) & {key.id for key in self._keys.public_keys}:
            return None
        url = self._keys.open(sealed, scripts.webhook_context(job_id)).decode()
        return Due(job_id, url, state.decode(), int(self._redis.hincrby(record, "webhook_attempts", 1)))
