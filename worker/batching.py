"""One round of a worker: compatible jobs, computed in one batch.

Given the id of a job: look at it; take fresh jobs of the same batch out of the queue within a short window; take each
by an execution id; open the requests; compute once; finish each. A job that was tried before runs alone, so that one
which kills its worker takes nobody with it twice.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import redis

from shared.errors import ComputationFailed, DdsrError, EnvelopeError, JobTimeout, WorkerLost
from shared.jobs.lease import Lease, OpenJob, Waiting
from shared.jobs.model import Kind
from shared.logs import Log, where
from shared.settings import QueueSettings, WorkerSettings
from worker.engine import Engine, Outcome, Stop, Unwanted
from worker.metrics import NOT_AUTHENTIC, RECOVERIES, WorkerMetrics
from worker.observe import Observer
from worker.rq_worker import Alarm

_ALONE = 0.1  # share of the window that a job waits while nothing speaks of load
_MEMORY = 1.0  # seconds for which a batch of several speaks of load
_PATIENCE = 120.0  # seconds for which a finished result waits for Redis to come back
_GRACE = 5  # seconds between the polite end of a batch (between steps) and the alarm


class Batches:
    """`run` is called by one thread, `beat` and `reap` by others. `impatient`: nobody is to wait for Redis."""

    def __init__(
        self,
        engine: Engine,
        lease: Lease,
        *,
        queue_settings: QueueSettings,
        settings: WorkerSettings,
        metrics: WorkerMetrics,
        log: Log,
    ) -> None:
        self._engine = engine
        self._lease = lease
        self._settings = settings
        self._queue_settings = queue_settings
        self._metrics = metrics
        self._log = log
        self._observer = Observer(metrics)
        self._held: dict[str, str] = {}
        self._busy_until = 0.0
        self._lock = threading.Lock()
        self.impatient: Callable[[], bool] = lambda: False

    # ---- one round

    def run(self, job_id: str) -> None:
        """Deal with a job that was taken out of the queue, and with those that are computed together with it."""
        waiting = [job for job in self._collect(job_id) if self._for_us(job)]
        with self._holding():
            opened = [job for job in map(self._take, waiting) if job is not None]
            groups: dict[tuple[Kind, str], list[OpenJob]] = {}
            for job in opened:  # by what was sealed: whoever writes to Redis can put any `batch` into a record
                groups.setdefault((job.kind, job.batch), []).append(job)
            for (kind, _), jobs in groups.items():
                self._compute(kind, jobs)
        self._busy_until = time.monotonic() + _MEMORY if len(opened) > 1 else 0.0

    def _collect(self, job_id: str) -> list[Waiting]:
        """The job and the fresh jobs of its batch that come within the window.

        The whole window is for times of load, of which company is the sign; a job alone waits a tenth of it.
        """
        jobs = self._lease.look([job_id])
        batch = jobs[0].batch
        start = time.monotonic()
        busy = start < self._busy_until
        while batch is not None and len(jobs) < self._settings.batch_size:
            jobs += self._lease.company(batch, self._settings.batch_size - len(jobs))
            busy = busy or len(jobs) > 1
            left = start + self._settings.batch_window * (1 if busy else _ALONE) - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(left, 0.01))
        return jobs

    def _for_us(self, job: Waiting) -> bool:
        """Give back what only another worker can open."""
        if not self._lease.for_others(job):
            return True
        self._lease.give_back(job)
        time.sleep(0.2)  # the worker that can open it may be waiting
        return False

    def _take(self, waiting: Waiting) -> OpenJob | None:
        start = time.perf_counter()
        taken = self._lease.take(waiting)
        if taken.state != "taken":
            self._log.info("skipped", job=waiting.id, state=taken.state)
            return None
        with self._lock:
            self._held[waiting.id] = taken.execution
            self._metrics.running.set(len(self._held))
        if taken.attempts > 1:
            self._metrics.retries.labels(waiting.kind).inc()
        try:
            job = self._lease.open(waiting, taken.execution)
        except DdsrError as error:
            self._fail(waiting.kind, waiting.id, taken.execution, error)
            return None
        self._observer.taken(job, taken.attempts)
        self._stage(job, "open", start)
        return job

    def _compute(self, kind: Kind, jobs: Sequence[OpenJob]) -> None:
        start = time.perf_counter()
        self._metrics.batch.labels(kind).observe(len(jobs), self._observer.span(jobs[0].id).exemplar)
        with self._observer.log(jobs[0]) if len(jobs) == 1 else nullcontext():
            request_ids = [job.origin.request_id for job in jobs]
            self._log.info("batch", kind=kind, jobs=[job.id for job in jobs], request_ids=request_ids)
            outcomes = self._outcomes(jobs)
        self._metrics.stage.labels(kind, "compute").observe(time.perf_counter() - start)
        for job, outcome in zip(jobs, outcomes, strict=True):
            with self._observer.log(job):
                self._finish(job, outcome)

    def _outcomes(self, jobs: Sequence[OpenJob]) -> list[Outcome]:
        limit = self._queue_settings.job_timeout
        watch = self._watch(jobs, time.monotonic() + limit)
        try:
            with Alarm(limit + _GRACE, Stop):  # for a step that never ends
                return self._engine.run(
                    [job.request for job in jobs],
                    watch,
                    self._unforeseen,
                    lambda part: self._observer.computing([jobs[i] for i in part]),
                )
        except Stop:  # the alarm, beside the engine
            return [Outcome(error=JobTimeout())] * len(jobs)

    def _watch(self, jobs: Sequence[OpenJob], deadline: float) -> Callable[[Sequence[int], int, int], None]:
        """Called between steps: report progress; stop when time is up, leave a part of which nobody wants a result."""

        def on_step(part: Sequence[int], step: int, steps: int) -> None:
            if time.monotonic() > deadline:
                raise Stop
            try:
                wanted = self._lease.progress([jobs[i] for i in part], step, steps)
            except redis.RedisError:
                return  # Redis may come back before the computation ends
            if not any(wanted):
                raise Unwanted

        return on_step

    def _finish(self, job: OpenJob, outcome: Outcome) -> None:
        start = time.perf_counter()
        if outcome.result is None:
            self._fail(job.kind, job.id, job.execution, outcome.error or ComputationFailed())
            return
        result = outcome.result
        try:
            with self._observer.span(job.id).child("store"):
                stored = self._patiently(lambda: self._lease.done(job, result))
        except EnvelopeError as error:  # a reply key that is none
            self._fail(job.kind, job.id, job.execution, error)
            return
        if stored:
            if job.kind == "recover":
                self._metrics.recoveries.labels(RECOVERIES[result.authentic]).inc()
            self._count(job.kind, job.id, "done", seconds=result.seconds)
        else:
            self._count(job.kind, job.id, "dropped")
        self._stage(job, "store", start)

    def _fail(self, kind: Kind, job_id: str, execution: str, error: DdsrError) -> None:
        ended = self._patiently(lambda: self._lease.failed(job_id, execution, error))
        if ended:
            self._metrics.errors.labels(kind, error.code).inc()
            if error.code == NOT_AUTHENTIC:
                self._metrics.recoveries.labels(NOT_AUTHENTIC).inc()
        self._count(kind, job_id, "failed" if ended else "dropped", code=error.code)

    def _patiently(self, action: Callable[[], bool]) -> bool:
        """Repeat while Redis is away: the computation is worth more than the wait."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return action()
            except redis.RedisError:
                if time.monotonic() > deadline or self.impatient():
                    raise
                time.sleep(0.2)

    # ---- what is held, and what others have abandoned

    @contextmanager
    def _holding(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._observer.left()
            with self._lock:
                self._held = {}
                self._metrics.running.set(0)

    def beat(self) -> None:
        """Keep what is held. Called by the pulse thread every `heartbeat_interval`."""
        with self._lock:
            held = list(self._held.items())
        if held:
            self._lease.beat(held)

    def reap(self) -> None:
        """Take up what other workers left. Called by a thread every `maintenance_interval`."""
        for job in self._lease.reap(self._settings.stuck_after):
            if job.state == "queued":
                self._log.warning("abandoned", job=job.id, kind=job.kind)
                continue
            if job.state == "failed":
                self._metrics.errors.labels(job.kind, WorkerLost.code).inc()
            self._count(job.kind, job.id, job.state)

    def _stage(self, job: OpenJob, stage: str, start: float) -> None:
        seconds = time.perf_counter() - start
        self._metrics.stage.labels(job.kind, stage).observe(seconds)
        with self._observer.log(job):
            self._log.debug("stage", job=job.id, stage=stage, seconds=round(seconds, 4))

    def _count(self, kind: Kind, job_id: str, outcome: str, **fields: Any) -> None:
        self._metrics.jobs.labels(kind, outcome).inc()
        self._log.info("ended", job=job_id, kind=kind, outcome=outcome, **fields)
        self._observer.ended(job_id, outcome, fields.get("code"))

    def _unforeseen(self, error: BaseException) -> None:
        self._log.error("computation failed", **where(error))
