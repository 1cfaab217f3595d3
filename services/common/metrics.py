"""Prometheus metrics of one service. Labels are routes, codes and kinds: no content, owner or job id."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from shared.jobs import QueueHealth

SECONDS = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)


class ServiceMetrics:
    """One registry for one app, so that two apps in a process do not meet."""

    def __init__(self, service: str, version: str) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("ddsr_http_requests_total", "HTTP requests answered", labels, registry=self.registry)
        self.seconds = Histogram(
            "ddsr_http_request_seconds",
            "Seconds from the request line to the end of the answer",
            ("method", "route"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.problems = Counter(
            "ddsr_http_problems_total", "Problems answered, by code", ("code",), registry=self.registry
        )
        self.in_flight = Gauge("ddsr_http_requests_in_flight", "Requests now open", registry=self.registry)
        self.upload_bytes = Histogram(
            "ddsr_upload_bytes",
            "Bytes of the accepted pictures",
            buckets=tuple(4.0**power for power in range(5, 13)),
            registry=self.registry,
        )
        self.jobs = Counter(
            "ddsr_jobs_submitted_total", "Jobs accepted into the queue", ("kind",), registry=self.registry
        )
        Info("ddsr_build", "Version and service", registry=self.registry).info({"version": version, "service": service})

    def watch_queue(self, state: Callable[[], QueueHealth]) -> None:
        """Ask `state` for the queue's gauges at every scrape."""
        self.registry.register(_QueueCollector(state))

    def render(self) -> bytes:
        """The text exposition format; asks the queue, hence blocking."""
        return generate_latest(self.registry)


class _QueueCollector(Collector):
    def __init__(self, state: Callable[[], QueueHealth]) -> None:
        self._state = state

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Names without a look at the queue, so that registering needs no Redis."""
        return _families(None)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return _families(self._state())


def _families(state: QueueHealth | None) -> list[GaugeMetricFamily]:
    up = GaugeMetricFamily("ddsr_redis_up", "1 where Redis answers")
    queued = GaugeMetricFamily("ddsr_queue_length", "Jobs that wait for a worker")
    workers = GaugeMetricFamily("ddsr_workers", "Live workers whose keys are trusted")
    if state is not None:
        up.add_metric([], float(state.redis))
        queued.add_metric([], float(state.queued))
        workers.add_metric([], float(len(state.trusted)))
    return [up, queued, workers]
