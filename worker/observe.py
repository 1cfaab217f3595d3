"""What a worker tells of the jobs that it holds: spans below those of their requests, and histograms."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

from structlog.contextvars import bound_contextvars

from shared import tracing
from shared.jobs.lease import OpenJob
from shared.jobs.model import HideRequest
from shared.stages import Facts, heard_by
from shared.tracing import OFF, Origin, Span
from worker.metrics import WorkerMetrics


class Observer:
    """For the thread that computes. Each job of a batch gets the batch's spans, so that every trace is whole."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._spans: dict[str, Span] = {}

    def taken(self, job: OpenJob, attempt: int) -> None:
        """A job was taken and opened. Its creation is a service's time: where clocks differ, its wait is off by so
        much, and never negative.
        """
        now = time.time()
        created, above = min(job.created, now), job.origin.traceparent
        tracing.begin("queue", parent=above, start=created, job=job.id, attempt=attempt).end(now)
        span = tracing.begin(job.kind, role="consumer", parent=above, start=now, job=job.id, attempt=attempt)
        span.set(request_id=job.origin.request_id or None, **_options(job))
        self._spans[job.id] = span
        self._metrics.wait.labels(job.kind).observe(now - created, span.exemplar)

    def span(self, job_id: str) -> Span:
        """That of a job which is held."""
        return self._spans.get(job_id, OFF)

    def log(self, job: OpenJob) -> AbstractContextManager[object]:
        """Log lines of this block carry the ids of the job's request."""
        origin = Origin(job.origin.request_id, self.span(job.id).traceparent or job.origin.traceparent)
        return bound_contextvars(**origin.logged())

    @contextmanager
    def computing(self, jobs: Sequence[OpenJob]) -> Iterator[None]:
        """These jobs are computed together in this block."""
        held = [self.span(job.id) for job in jobs]
        with ExitStack() as stack:
            batches = []
            for span in held:
                others = [other.traceparent for other in held if other is not span]
                batches.append(stack.enter_context(span.child("batch", {"size": len(jobs)}, links=others)))
            stack.enter_context(heard_by(_Listener(self._metrics, batches)))
            yield

    def ended(self, job_id: str, outcome: str, code: str | None) -> None:
        """A job is held no more."""
        span = self._spans.pop(job_id, OFF)
        span.set(outcome=outcome)
        if code is not None:
            span.fail(code)
        span.end()

    def left(self) -> None:
        """What is held still was given up, by an error that ends the worker."""
        for job_id in list(self._spans):
            self.ended(job_id, "left", None)


class _Listener:
    """Makes a span for each job, and a histogram's sample for all, of what the core says. See `shared.stages`."""

    def __init__(self, metrics: WorkerMetrics, spans: Sequence[Span]) -> None:
        self._metrics = metrics
        self._above = [spans]

    @contextmanager
    def stage(self, name: str, facts: Facts) -> Iterator[None]:
        title = f"{name} {facts['walk']} {facts['direction']}" if name == "walk" else name
        start = time.perf_counter()
        with ExitStack() as stack:
            spans = [stack.enter_context(span.child(title, facts)) for span in self._above[-1]]
            self._above.append(spans)
            try:
                yield
            finally:
                self._above.pop()
            if name == "walk":
                seconds, exemplar = time.perf_counter() - start, spans[0].exemplar
                self._metrics.walk.labels(facts["walk"], facts["direction"]).observe(seconds, exemplar)

    def figure(self, name: str, value: float, facts: Facts) -> None:
        histogram = {"draws": self._metrics.draws, "payload": self._metrics.payload}[name]
        histogram.labels(facts["channel"]).observe(value, self._above[0][0].exemplar)


def _options(job: OpenJob) -> dict[str, str]:
    if isinstance(job.request, HideRequest):
        sealed = {"channel": job.request.channel} if job.request.scheme == "sealed" else {}
        return {"scheme": job.request.scheme} | sealed
    return {"scheme": job.request.recipe.scheme}
