"""Traces by OpenTelemetry: one from a request through the queue to the worker's computation and back.

Off, and free, unless the standard variables name an exporter (`OTEL_TRACES_EXPORTER`, `OTEL_EXPORTER_OTLP_ENDPOINT`,
`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`); then the packages of the extra `otel` must be there. Nothing else of the program
imports OpenTelemetry, and no library finds a provider of ours: FastAPI's own spans would hold query strings.

What a span may say is the closed list `_ATTRIBUTES`: ids, names, counts and codes. There are no events, hence no text
of an exception.
"""

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version
from types import TracebackType
from typing import Any, Literal, Self

from shared.errors import DdsrError

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LAST = 3.0  # seconds that the spans of the last moment get to leave
_ATTRIBUTES = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "error": "error.type",
    "request_id": "ddsr.request_id",
    "job": "ddsr.job",
    "kind": "ddsr.kind",
    "scheme": "ddsr.scheme",
    "channel": "ddsr.channel",
    "outcome": "ddsr.outcome",
    "attempt": "ddsr.attempt",
    "size": "ddsr.batch_size",
    "walk": "ddsr.walk",
    "direction": "ddsr.direction",
    "steps": "ddsr.steps",
    "number": "ddsr.draw",
    "faces": "ddsr.faces",
}
_tracer: Any = None
_provider: Any = None

Value = str | int | float | bool
Attributes = Mapping[str, Value | None] | Mapping[str, str | int]
SpanKind = Literal["internal", "server", "producer", "consumer"]


class TracingError(ValueError):
    """The variables ask for traces that cannot be exported. Its text is for the log."""


@dataclass(frozen=True)
class Origin:
    """Whose request a job is, for logs and traces: it travels inside the sealed message.

    Either may be empty. `traceparent` is that of W3C Trace Context.
    """

    request_id: str = ""
    traceparent: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what a service would not write."""
        if self.request_id != "" and not REQUEST_ID.fullmatch(self.request_id):
            raise ValueError("no id of a request")
        if self.traceparent != "" and not TRACEPARENT.fullmatch(self.traceparent):
            raise ValueError("no traceparent")

    def logged(self) -> dict[str, str]:
        """Fields of a log line."""
        return ({"request_id": self.request_id} if self.request_id else {}) | trace_fields(self.traceparent)


class Span:
    """A span, or nothing where there are no traces. As a context manager it ends with its block.

    Times are seconds since the epoch.
    """

    __slots__ = ("_span",)

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def child(
        self, name: str, attributes: Attributes | None = None, *, role: SpanKind = "internal", links: Sequence[str] = ()
    ) -> "Span":
        """A span below this one; `links`: the `traceparent` of others that it serves."""
        if self._span is None or _tracer is None:
            return OFF
        return _begin(name, role, self._span.get_span_context(), None, attributes or {}, links)

    def set(self, **attributes: Value | None) -> None:
        """Say more; what is None is left out."""
        if self._span is not None:
            self._span.set_attributes(_named(attributes))

    def name(self, name: str) -> None:
        if self._span is not None:
            self._span.update_name(name)

    def fail(self, code: str) -> None:
        """It ended with this error."""
        if self._span is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR)
            self.set(error=code)

    def end(self, at: float | None = None) -> None:
        if self._span is not None:
            self._span.end(None if at is None else _nanoseconds(at))

    @property
    def traceparent(self) -> str:
        """For what is done elsewhere; empty where there are no traces."""
        if self._span is None:
            return ""
        found = self._span.get_span_context()
        return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"

    @property
    def exemplar(self) -> dict[str, str] | None:
        """What joins a histogram's sample to its trace; None for one that is not exported."""
        if self._span is None or not self._span.is_recording():
            return None
        return {"trace_id": f"{self._span.get_span_context().trace_id:032x}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.fail(error.code if isinstance(error, DdsrError) else type(error).__name__)
        self.end()


OFF = Span()
_CURRENT: ContextVar[Span] = ContextVar("span", default=OFF)
_NOBODY = Origin()
_ORIGIN: ContextVar[Origin] = ContextVar("origin", default=_NOBODY)


def begin(
    name: str,
    *,
    role: SpanKind = "internal",
    parent: str = "",
    start: float | None = None,
    **attributes: Value | None,
) -> Span:
    """A span below that of the `traceparent` `parent`; below none without it."""
    return OFF if _tracer is None else _begin(name, role, _context(parent), start, attributes, ())


@contextmanager
def served(origin: Origin, span: Span) -> Iterator[None]:
    """What is done in this block, in threads that it starts by anyio too, belongs to the request."""
    span_before, origin_before = _CURRENT.set(span), _ORIGIN.set(origin)
    try:
        yield
    finally:
        _CURRENT.reset(span_before)
        _ORIGIN.reset(origin_before)


@contextmanager
def below(name: str, *, role: SpanKind = "internal", **attributes: Value | None) -> Iterator[Span]:
    """A span of this block, below the one that is current; current in its place."""
    with _CURRENT.get().child(name, attributes, role=role) as span:
        before = _CURRENT.set(span)
        try:
            yield span
        finally:
            _CURRENT.reset(before)


def origin() -> Origin:
    """Of the request that is being served, under the span that is current."""
    found = _ORIGIN.get()
    return Origin(found.request_id, _CURRENT.get().traceparent or found.traceparent)


def traceparent_of(header: str) -> str:
    """What a caller's header says, also in a version to come; empty for what is none."""
    text, rest = header[:55], header[55:]
    return text if TRACEPARENT.fullmatch(text) and rest[:1] in ("", "-") else ""


def trace_fields(traceparent: str) -> dict[str, str]:
    """Fields of a log line; none for what is no traceparent."""
    match = TRACEPARENT.fullmatch(traceparent)
    return {} if match is None else {"trace_id": match[1], "span_id": match[2]}


def wanted(variables: Mapping[str, str] = os.environ) -> list[str]:
    """The exporters that the standard variables name; none: no traces."""
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    named = [name.strip() for name in variables.get("OTEL_TRACES_EXPORTER", "").split(",") if name.strip()]
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not named and any(variables.get(name) for name in endpoints):
        named = ["otlp"]
    return [name for name in named if name != "none"]


def start(service: str) -> None:
    """Begin to export this process's spans, where that is wanted. `service`: its name, unless `OTEL_SERVICE_NAME` says.

    Raises:
        TracingError: packages or an exporter are missing.
    """
    global _tracer, _provider
    if not (names := wanted()):
        return
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise TracingError(
            "the OTEL_ variables ask for traces, but OpenTelemetry is not installed: install requirements/otel.txt "
            "(the extra `otel`), or unset them"
        ) from None
    own = {"service.name": service, "service.version": _version()}
    given = Resource.create().attributes
    unnamed = str(given.get("service.name", "")).startswith("unknown_service")
    resource = Resource.create({name: text for name, text in own.items() if unnamed or name not in given})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in names:
        _provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
    _tracer = _provider.get_tracer("ddsr", _version())


def stop() -> None:
    """Export what is left, for 3 seconds at most: a collector that is away must not keep a process from its end."""
    global _tracer, _provider
    if _provider is None:
        return
    provider, _tracer, _provider = _provider, None, None
    last = threading.Thread(target=provider.shutdown, daemon=True)
    last.start()
    last.join(_LAST)


def _exporter(name: str) -> Any:
    if name == "otlp":
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        name = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    try:
        (found,) = entry_points(group="opentelemetry_traces_exporter", name=name)
        return found.load()()
    except (ValueError, ImportError):
        raise TracingError(f"no exporter of traces `{name}` is installed, or it refuses its OTEL_ variables") from None


def _begin(
    name: str,
    role: SpanKind,
    parent: Any,
    start: float | None,
    attributes: Attributes,
    links: Sequence[str],
) -> Span:
    from opentelemetry import trace
    from opentelemetry.context import Context

    above = Context() if parent is None else trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())
    linked = [trace.Link(context) for link in links if (context := _context(link)) is not None]
    return Span(
        _tracer.start_span(
            name,
            context=above,
            kind=trace.SpanKind[role.upper()],
            attributes=_named(attributes),
            links=linked,
            start_time=None if start is None else _nanoseconds(start),
        )
    )


def _context(traceparent: str) -> Any:
    """OpenTelemetry's form; None for what is no traceparent. `tracestate`, a caller's own text, is not taken up."""
    match = TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    from opentelemetry.trace import SpanContext, TraceFlags

    flags = TraceFlags(int(traceparent[53:55], 16) & TraceFlags.SAMPLED)
    return SpanContext(int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=flags)


def _named(attributes: Attributes) -> dict[str, Value]:
    """KeyError for what is not on the list."""
    return {_ATTRIBUTES[name]: value for name, value in attributes.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def _version() -> str:
    try:
        return version("ddsr")
    except PackageNotFoundError:
        return "0"
