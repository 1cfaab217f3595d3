"""A collector of traces: takes spans by OTLP over HTTP, as a real one does, and keeps what arrived."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    links: tuple[str, ...]  # traces
    events: int
    failed: bool
    seconds: float


@dataclass
class Collector:
    """`bodies` are the requests as they came."""

    port: int = 0
    bodies: list[bytes] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process whose spans come here soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}", "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def spans(self, trace: str | None = None) -> list[Span]:
        """Those of one trace, or all."""
        found = []
        for body in list(self.bodies):
            for part in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = next(one.value.string_value for one in part.resource.attributes if one.key == "service.name")
                found += [_span(service, one) for scope in part.scope_spans for one in scope.spans]
        return [span for span in found if trace in (None, span.trace)]


def _span(service: str, found: Any) -> Span:
    values = {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in found.attributes}
    links = tuple(link.trace_id.hex() for link in found.links)
    seconds = (found.end_time_unix_nano - found.start_time_unix_nano) / 1e9
    ids = found.trace_id.hex(), found.span_id.hex(), found.parent_span_id.hex()
    return Span(service, found.name, *ids, values, links, len(found.events), found.status.code == 2, seconds)


@contextmanager
def collector() -> Iterator[Collector]:
    """Listens for the length of the block."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Not to be seen between the lines of the tests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield found
        server.shutdown()
        thread.join()
