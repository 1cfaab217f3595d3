"""Sends due webhooks. An entry is leased, not taken: a worker that dies leaves it to others."""

import threading

import httpcore
import redis

from shared.errors import DdsrError
from shared.jobs.due import Due, DueWebhooks
from shared.logs import Log, where
from worker.delivery import Final, Refused, deliver
from worker.metrics import WorkerMetrics

LEASE = 120.0  # seconds; more than an attempt takes, with a slow lookup of a name before it
SENDERS = 8  # attempts at a time: one slow receiver must not hold up everybody's webhooks
DELAYS = (5.0, 30.0, 120.0, 600.0, 1800.0)  # between attempts; after the last one the webhook is given up


class Outbox:
    def __init__(
        self, webhooks: DueWebhooks, secret: str, *, allow_private: bool, metrics: WorkerMetrics, log: Log
    ) -> None:
        self._webhooks = webhooks
        self._secret = secret
        self._allow_private = allow_private
        self._metrics = metrics
        self._log = log
        self._free = threading.Semaphore(SENDERS)

    def send_due(self) -> None:
        """Begin to send whatever is due, each in a thread of its own, as long as there is one. Raises
        redis.RedisError.
        """
        while self._free.acquire(blocking=False):
            try:
                due = self._webhooks.next(LEASE)
            except BaseException:
                self._free.release()
                raise
            if due is None:
                self._free.release()
                return
            threading.Thread(target=self._send_apart, args=(due,), name="webhook", daemon=True).start()

    def _send_apart(self, due: Due) -> None:
        try:
            self._send(due)
        except redis.RedisError as error:  # the lease brings it back
            self._log.warning("redis does not answer", error=type(error).__name__)
        except Exception as error:
            self._log.error("thread", **where(error))
        finally:
            self._free.release()

    def _send(self, due: Due) -> None:
        try:
            deliver(due.url, due.job_id, due.status, self._secret, allow_private=self._allow_private)
        except Final as error:
            self._again(due.job_id, len(DELAYS) + 1, str(error))
        except Refused as error:
            self._again(due.job_id, due.attempt, str(error))
        except (OSError, httpcore.NetworkError, httpcore.ProtocolError, DdsrError, ValueError) as error:
            self._again(due.job_id, due.attempt, "no answer", error=type(error).__name__)
        else:
            self._webhooks.end(due.job_id, "sent")
            self._metrics.webhooks.labels("sent").inc()
            self._log.info("webhook sent", job=due.job_id, attempt=due.attempt)

    def _again(self, job_id: str, attempt: int, reason: str, **fields: str) -> None:
        """`reason` is for the job's owner too; `fields`, which tell more of the network, for the log alone."""
        if attempt > len(DELAYS):
            self._webhooks.end(job_id, "given-up", reason)
            self._metrics.webhooks.labels("given-up").inc()
        else:
            self._webhooks.delay(job_id, DELAYS[attempt - 1])
            self._metrics.webhooks.labels("failed").inc()
        self._log.warning("webhook failed", job=job_id, attempt=attempt, reason=reason, **fields)
