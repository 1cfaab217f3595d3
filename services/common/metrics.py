"""Prometheus metrics of one service. Labels are routes, codes and kinds: no content, owner or job id."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from shared.jobs import QueueHealth

SECONDS = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
_GAUGES: tuple[tuple[str, str, Callable[[QueueHealth], float]], ...] = (
    ("ddsr_redis_up", "1 where Redis answers", lambda state: state.redis),
    ("ddsr_redis_memory_bytes", "Memory that Redis uses", lambda state: state.memory),
    ("ddsr_redis_memory_limit_bytes", "Memory that Redis may use; 0: no limit", lambda state: state.memory_limit),
    ("ddsr_queue_length", "Jobs that wait for a worker", lambda state: state.queued),
    ("ddsr_queue_limit", "Jobs that may wait", lambda state: state.limit),
    ("ddsr_queue_oldest_seconds", "Age of the job at the head of the queue", lambda state: state.oldest),
    ("ddsr_workers", "Live workers whose keys are trusted", lambda state: len(state.trusted)),
    (
        "ddsr_workers_untrusted",
        "Live workers whose keys are not trusted",
        lambda state: len(state.workers) - len(state.trusted),
    ),
)


class ServiceMetrics:
    """One registry for one app, so that two apps in a process do not meet."""

    def __init__(self, service: str, version: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
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
        for code in ("unauthenticated", "envelope-error", "key-file"):
            self.problems.labels(code)  # begins at 0: Prometheus sees no increase in a series that appears with 1
        Info("ddsr_build", "Version and service", registry=self.registry).info({"version": version, "service": service})

    def watch_queue(self, state: Callable[[], QueueHealth]) -> None:
        """Ask `state` for the queue's gauges at every scrape."""
        self.registry.register(_QueueCollector(state))

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text exposition format that a scraper accepts, and its media type; OpenMetrics, where it does, has
        exemplars. Asks the queue, hence blocking.
        """
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type


class _QueueCollector(Collector):
    def __init__(self, state: Callable[[], QueueHealth]) -> None:
        self._state = state

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Names without a look at the queue, so that registering needs no Redis."""
        return _families(None)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        return _families(self._state())


def _families(state: QueueHealth | None) -> list[GaugeMetricFamily]:
    families = []
    for name, text, read in _GAUGES:
        family = GaugeMetricFamily(name, text)
        if state is not None:
            family.add_metric([], read(state))
        families.append(family)
    return families
