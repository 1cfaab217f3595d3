"""The RQ worker: warm, one process, one queue, computing compatible jobs in one batch.

RQ brings what is hard to get right (an id is never lost between dequeue and start, an abandoned job is queued
again); this file adds what `SimpleWorker` lacks: heartbeats during a computation, batches, an allow-list, and
an orderly end.

One round: take a job; take fresh jobs of the same batch within a short window; begin each (RQ's execution,
then our claim by its id); open the requests; compute once; store each result; close RQ's books (`worker.books`)
for each. A job that was tried before runs alone, so that one which kills its worker takes nobody with it twice.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import redis
from rq import SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import UnixSignalDeathPenalty
from rq.worker.base import StopRequested
from rq.worker_registration import clean_worker_registry

from shared.errors import ComputationFailed, DdsrError, EnvelopeError, JobTimeout, WorkerLost
from shared.jobs_models import TASKS, TERMINAL, Kind
from shared.settings import QueueSettings, WorkerSettings
from worker import books
from worker.books import IdJob, IdQueue
from worker.desk import Desk, OpenJob
from worker.engine import Engine, Outcome, Stop, Unwanted
from worker.logs import Log, where
from worker.metrics import WorkerMetrics

_ALONE = 0.1  # share of the window that a job waits while nothing speaks of load
_MEMORY = 1.0  # seconds for which a batch of several speaks of load
_PATIENCE = 120.0  # seconds for which a finished result waits for Redis to come back
_LOST = "every attempt ended with the loss of its worker"
_GRACE = 5  # seconds between the polite end of a batch (between steps) and the alarm


class BatchWorker(SimpleWorker):  # type: ignore[misc]
    """One a process (and one a GPU). `work()` returns after SIGTERM or SIGINT, with nothing held."""

    job_class = IdJob
    queue_class = IdQueue
    log_result_lifespan = False
    max_connection_wait_time = 2.0  # seconds between two tries to reach Redis

    def __init__(
        self,
        connection: redis.Redis,
        engine: Engine,
        desk: Desk,
        *,
        name: str,
        queue_settings: QueueSettings,
        settings: WorkerSettings,
        metrics: WorkerMetrics,
        log: Log,
    ) -> None:
        books.Intermediate.stuck_after = settings.stuck_after
        super().__init__(
            [IdQueue(queue_settings.queue, connection=connection, job_class=IdJob, serializer=JSONSerializer)],
            name=name,
            connection=connection,
            worker_ttl=16,  # makes RQ's blocking dequeue last a second, so that SIGTERM is heard
            log_job_description=False,
            serializer=JSONSerializer,
            exception_handlers=[self._abandoned],
        )
        self._engine = engine
        self._desk = desk
        self._settings = settings
        self._queue_settings = queue_settings
        self._metrics = metrics
        self._log = log
        self._held: dict[str, books.Held] = {}
        self._busy_until = 0.0
        self._lock = threading.Lock()

    # ---- one round

    def execute_job(self, job: Job, queue: IdQueue) -> None:
        """RQ's hook: called with the first job of a batch."""
        ttl = self._settings.heartbeat_ttl
        entries = [entry for entry in self._collect(job, queue) if self._admit(entry, queue)]
        held = [books.begin(entry, queue, self.name, ttl) for entry in entries]
        with self._beating(held):
            self._process(held)
            for entry in held:
                books.close(entry, queue, ended=self._desk.state(entry.job.id) not in ("queued", "running"))
        self._busy_until = time.monotonic() + _MEMORY if len(held) > 1 else 0.0

    def _collect(self, job: Job, queue: IdQueue) -> list[Job]:
        """The job and the fresh jobs of its batch that come within the window.

        The whole window is for times of load, of which company is the sign; a job alone waits a tenth of it.
        """
        jobs = [job]
        batch = self._desk.batch_of(job.id)
        start = time.monotonic()
        busy = start < self._busy_until
        while batch is not None and len(jobs) < self._settings.batch_size:
            room = self._settings.batch_size - len(jobs)
            ids = self._desk.company(batch, room, queue.key, queue.intermediate_queue_key)
            jobs += queue.entries(ids)
            busy = busy or len(jobs) > 1
            left = start + self._settings.batch_window * (1 if busy else _ALONE) - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(left, 0.01))
        return jobs

    def _admit(self, job: Job, queue: IdQueue) -> bool:
        """Refuse what is not ours; give back what only another worker can open."""
        if not job.is_ours():
            self._log.warning("refused", job=job.id)
            books.discard(job, queue)
            return False
        if self._desk.for_others(job.id):
            books.give_back(job, queue)
            time.sleep(0.2)  # the worker that can open it may be waiting
            return False
        return True

    def _process(self, held: Sequence[books.Held]) -> None:
        """Claim, open, compute and finish; afterwards every record is settled."""
        opened: list[OpenJob] = []
        for entry in held:
            kind = TASKS[entry.job.func_name]
            if (job := self._open(entry, kind)) is not None:
                opened.append(job)
        groups: dict[tuple[Kind, str], list[OpenJob]] = {}
        for job in opened:  # by what was sealed: whoever writes to Redis can put any `batch` into a record
            groups.setdefault((job.kind, job.batch), []).append(job)
        for (kind, _), jobs in groups.items():
            self._compute(kind, jobs)

    def _open(self, entry: books.Held, kind: Kind) -> OpenJob | None:
        job_id, execution = entry.job.id, entry.execution.id
        start = time.perf_counter()
        try:
            claim = self._desk.claim(job_id, execution, self.name)
        except EnvelopeError:
            self._count(kind, job_id, "dropped", code=EnvelopeError.code)
            return None
        if claim.state == "exhausted":
            self._fail(kind, job_id, "", WorkerLost(_LOST))
        if claim.state != "running":
            self._log.info("skipped", job=job_id, state=claim.state)
            return None
        if claim.attempts > 1:
            self._metrics.retries.labels(kind).inc()
        try:
            job = self._desk.open(job_id, kind, execution)
        except DdsrError as error:
            self._fail(kind, job_id, execution, error)
            return None
        self._metrics.wait.labels(kind).observe(max(0.0, time.time() - job.created))
        self._stage(job, "open", start)
        return job

    def _compute(self, kind: Kind, jobs: Sequence[OpenJob]) -> None:
        limit = self._queue_settings.job_timeout
        deadline = time.monotonic() + limit
        start = time.perf_counter()
        self._metrics.batch.labels(kind).observe(len(jobs))
        self._log.info("batch", kind=kind, jobs=[job.id for job in jobs])
        try:
            with UnixSignalDeathPenalty(limit + _GRACE, Stop):  # for a step that never ends
                outcomes = self._engine.run(
                    [job.request for job in jobs], self._watch(jobs, deadline), self._unforeseen
                )
        except Stop:  # the alarm, beside the engine
            outcomes = [Outcome(error=JobTimeout())] * len(jobs)
        self._metrics.stage.labels(kind, "compute").observe(time.perf_counter() - start)
        for job, outcome in zip(jobs, outcomes, strict=True):
            self._finish(job, outcome)

    def _watch(self, jobs: Sequence[OpenJob], deadline: float) -> Callable[[Sequence[int], int, int], None]:
        """Called between steps: report progress; stop when time is up, leave a part of which nobody wants a result."""

        def on_step(part: Sequence[int], step: int, steps: int) -> None:
            if time.monotonic() > deadline:
                raise Stop
            try:
                wanted = self._desk.progress([jobs[i] for i in part], step, steps)
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
            stored = self._patiently(lambda: self._desk.done(job, result))
        except EnvelopeError as error:  # a reply key that is none
            self._fail(job.kind, job.id, job.execution, error)
            return
        if stored:
            self._count(job.kind, job.id, "done", seconds=result.seconds)
        else:
            self._count(job.kind, job.id, "dropped")
        self._stage(job, "store", start)

    def _fail(self, kind: Kind, job_id: str, execution: str, error: DdsrError) -> None:
        ended = self._patiently(lambda: self._desk.failed(job_id, execution, error))
        if ended:
            self._metrics.errors.labels(kind, error.code).inc()
        self._count(kind, job_id, "failed" if ended else "dropped", code=error.code)

    def _patiently(self, action: Callable[[], bool]) -> bool:
        """Repeat while Redis is away: the computation is worth more than the wait."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return action()
            except redis.RedisError:
                if time.monotonic() > deadline or self._cold:
                    raise
                time.sleep(0.2)

    # ---- books, heartbeats, logs

    @contextmanager
    def _beating(self, held: Sequence[books.Held]) -> Iterator[None]:
        with self._lock:
            self._held = {entry.job.id: entry for entry in held}
            self._metrics.running.set(len(held))
        try:
            yield
        finally:
            with self._lock:
                self._held = {}
                self._metrics.running.set(0)

    def beat(self) -> None:
        """Keep what is held alive in RQ's books. Called by the pulse thread every `heartbeat_interval`."""
        with self._lock:
            held = list(self._held.values())
        if not held:
            return
        with self.connection.pipeline() as pipe:
            self.heartbeat(self.worker_ttl + 60, pipeline=pipe)
            for entry in held:
                registry = entry.job.started_job_registry
                entry.execution.heartbeat(registry, self._settings.heartbeat_ttl, pipeline=pipe)
            pipe.execute()

    def queued(self) -> int:
        return int(self.connection.llen(self.queues[0].key))

    def clean_registries(self) -> None:
        """RQ's hook: take up what others left, unless another worker is at it."""
        queue = self.queues[0]
        if queue.acquire_maintenance_lock():
            queue.started_job_registry.cleanup(exception_handlers=self._exc_handlers)
            queue.failed_job_registry.cleanup()
            clean_worker_registry(queue)
            queue.intermediate_queue.cleanup(self, queue)
            queue.release_maintenance_lock()
        self._cleaned = time.monotonic()

    def handle_job_failure(self, job: Job, queue: IdQueue, *args: Any, **kwargs: Any) -> None:
        """RQ's word for a job that was taken and never begun: it is queued again, a few times."""
        self._abandoned(job)
        super().handle_job_failure(job, queue, *args, **kwargs)

    def _abandoned(self, job: Job, *exc_info: Any) -> bool:
        """RQ found a job whose worker fell silent. The last attempt ends our record as well."""
        if job.is_ours() and not job.should_retry and self._desk.state(job.id) not in TERMINAL:
            self._fail(TASKS[job.func_name], job.id, "", WorkerLost(_LOST))
        return False

    def _stage(self, job: OpenJob, stage: str, start: float) -> None:
        seconds = time.perf_counter() - start
        self._metrics.stage.labels(job.kind, stage).observe(seconds)
        self._log.debug("stage", job=job.id, stage=stage, seconds=round(seconds, 4))

    def _count(self, kind: Kind, job_id: str, outcome: str, **fields: Any) -> None:
        self._metrics.jobs.labels(kind, outcome).inc()
        self._log.info("ended", job=job_id, kind=kind, outcome=outcome, **fields)

    def _unforeseen(self, error: BaseException) -> None:
        self._log.error("computation failed", **where(error))

    # ---- start and end

    _cold = False
    _cleaned = float("-inf")

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """RQ asks just before it dequeues: the one place where nothing is held, so the place to stop."""
        if self._stop_requested:
            raise StopRequested
        return time.monotonic() - self._cleaned > self._settings.maintenance_interval

    @property
    def asked_to_stop(self) -> bool:
        return bool(self._stop_requested)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """RQ tries for ever to reach a Redis that is away; asked to stop, it shall not."""
        try:
            super().heartbeat(timeout, pipeline)
        except redis.ConnectionError:
            if self._stop_requested:
                raise StopRequested from None
            raise

    def _shutdown(self) -> None:
        """Warm end: finish what is held. Only a flag, as a signal may arrive between any two instructions."""
        self._stop_requested = True

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        self._cold = True
        super().request_force_stop(signum, frame)

    def subscribe(self) -> None:
        """No remote commands: a running job is cancelled through its record."""

    def unsubscribe(self) -> None:
        """See `subscribe`."""
