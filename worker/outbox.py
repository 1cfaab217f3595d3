"""Sends due webhooks. An entry is leased, not taken: a worker that dies leaves it to others."""

import http.client

from shared.errors import DdsrError
from shared.webhooks import Final, Refused, deliver
from worker.desk import Desk
from worker.logs import Log
from worker.metrics import WorkerMetrics

LEASE = 60.0  # seconds
DELAYS = (5.0, 30.0, 120.0, 600.0, 1800.0)  # between attempts; after the last one the webhook is given up


class Outbox:
    def __init__(self, desk: Desk, secret: str, *, allow_private: bool, metrics: WorkerMetrics, log: Log) -> None:
        self._desk = desk
        self._secret = secret
        self._allow_private = allow_private
        self._metrics = metrics
        self._log = log

    def send_one(self) -> bool:
        """Try one due webhook; False when there was none. Raises redis.RedisError."""
        due = self._desk.due_webhook(LEASE)
        if due is None:
            return False
        job_id, url, status, attempt = due
        try:
            deliver(url, job_id, status, self._secret, allow_private=self._allow_private)
        except Final as error:
            self._again(job_id, len(DELAYS) + 1, str(error))
        except Refused as error:
            self._again(job_id, attempt, str(error))
        except (OSError, http.client.HTTPException, DdsrError, ValueError) as error:
            self._again(job_id, attempt, type(error).__name__)
        else:
            self._desk.drop_webhook(job_id)
            self._metrics.webhooks.labels("sent").inc()
            self._log.info("webhook sent", job=job_id, attempt=attempt)
        return True

    def _again(self, job_id: str, attempt: int, reason: str) -> None:
        if attempt > len(DELAYS):
            self._desk.drop_webhook(job_id)
            self._metrics.webhooks.labels("given-up").inc()
        else:
            self._desk.delay_webhook(job_id, DELAYS[attempt - 1])
            self._metrics.webhooks.labels("failed").inc()
        self._log.warning("webhook failed", job=job_id, attempt=attempt, reason=reason)
