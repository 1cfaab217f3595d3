"""Prometheus metrics of one worker process. Labels are kinds, stages and outcomes: never content, owners or
ids.
"""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from shared.errors import EnvelopeError, KeyFileError, WorkerLost
from shared.jobs.model import KINDS
from shared.limits import CHANNELS

SECONDS = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)

RECOVERIES = {True: "authentic", False: "decoy", None: "unverified"}  # by `JobResult.authentic`
NOT_AUTHENTIC = "not-authentic"


class WorkerMetrics:
    """One registry a process; `serve` opens the port."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        make: dict[str, Any] = {"registry": self.registry}
        self.jobs = Counter("ddsr_worker_jobs_total", "Jobs ended, by outcome", ("kind", "outcome"), **make)
        self.errors = Counter(
            "ddsr_job_errors_total", "Jobs that failed, by the error's code", ("kind", "code"), **make
        )
        self.wait = Histogram(
            "ddsr_job_wait_seconds", "From submission to the claim", ("kind",), buckets=SECONDS, **make
        )
        self.stage = Histogram(
            "ddsr_stage_seconds", "Time of a batch's stages", ("kind", "stage"), buckets=SECONDS, **make
        )
        self.batch = Histogram(
            "ddsr_batch_size", "Jobs computed together", ("kind",), buckets=(1, 2, 4, 8, 16, 32, 64), **make
        )
        self.walk = Histogram(
            "ddsr_walk_seconds",
            "Time of one walk of a batch",
            ("walk", "direction"),
            buckets=SECONDS,
            **make,
        )
        self.draws = Histogram(
            "ddsr_channel_draws", "Draws until a stego survived its channel", ("channel",), buckets=(1, 2, 3, 4), **make
        )
        self.payload = Histogram(
            "ddsr_payload_bytes",
            "Bytes of the sealed payload of a stego",
            ("channel",),
            buckets=tuple(2.0**power for power in range(6, 15)),
            **make,
        )
        self.recoveries = Counter("ddsr_recoveries_total", "Recoveries ended, by what was found", ("outcome",), **make)
        self.queued = Gauge("ddsr_queue_depth", "Jobs waiting in the queue", **make)
        self.running = Gauge("ddsr_worker_running_jobs", "Jobs that this worker holds", **make)
        self.heartbeat = Gauge(
            "ddsr_worker_heartbeat_timestamp_seconds", "When Redis last took this worker's heartbeat", **make
        )
        self.retries = Counter("ddsr_job_retries_total", "Claims after the loss of a worker", ("kind",), **make)
        self.webhooks = Counter("ddsr_webhooks_total", "Attempts to send a webhook", ("outcome",), **make)
        self.model = Info("ddsr_model", "The loaded model", **make)
        self._begin()

    def _begin(self) -> None:
        """Counters begin at 0: Prometheus sees no increase in a series that appears with its first event."""
        for kind in KINDS:
            self.retries.labels(kind)
            for outcome in ("done", "failed", "dropped"):
                self.jobs.labels(kind, outcome)
            for error in (EnvelopeError, KeyFileError, WorkerLost):
                self.errors.labels(kind, error.code)
        for walk in ("identity", "disguise"):
            for direction in ("inversion", "sampling"):
                self.walk.labels(walk, direction)
        for channel in CHANNELS:
            self.draws.labels(channel)
            self.payload.labels(channel)
        for outcome in (*RECOVERIES.values(), NOT_AUTHENTIC):
            self.recoveries.labels(outcome)
        for outcome in ("sent", "failed", "given-up"):
            self.webhooks.labels(outcome)
