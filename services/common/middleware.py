"""What happens to every request before and after the framework, as plain ASGI."""

import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl

import anyio
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from services.common.metrics import ServiceMetrics
from services.common.problems import BodyTooLarge, SecretInQuery, SlowUpload, describe, problem_response
from shared import tracing
from shared.errors import DdsrError
from shared.logs import Log, where
from shared.tracing import OFF, REQUEST_ID, Origin, Span, traceparent_of

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
NO_ROUTE = "unmatched"
LINGER_BYTES = 64 * 2**20
LINGER_SECONDS = 30.0  # in all
LINGER_SILENCE = 5.0  # without a byte
PROBES = ("/livez", "/readyz", "/metrics")


class RequestContext:
    """Outermost: request id, security headers, a log line, a span, metrics, the last resort for unforeseen errors.

    A caller's `X-Request-ID` is taken up where it is letters, digits and `._-`, at most 64 of them; else the request
    gets a name here. A `traceparent` (W3C Trace Context) that is well-formed is taken up. The lines logged in a request
    carry both, and so does its job.

    The access log names the route template instead of the address, hence no query string, and of what a client
    wrote only these two. An unforeseen error ends here as a 500: a server's own traceback would print the error's
    text.
    """

    def __init__(self, app: ASGIApp, *, metrics: ServiceMetrics, log: Log) -> None:
        self.app = app
        self.metrics = metrics
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, above = _request_id(scope), traceparent_of(_header(scope, b"traceparent"))
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                own = headers.get("Content-Security-Policy")  # the page has one
                headers.update({**SECURITY_HEADERS, "X-Request-ID": request_id})
                if own is not None:
                    headers["Content-Security-Policy"] = own
            await send(message)

        with self._identified(scope, request_id, above) as span:
            with self.metrics.in_flight.track_inprogress():
                try:
                    await self.app(scope, receive, send_with_headers)
                except Exception as error:
                    self.log.error("unforeseen", **where(error))
                    if status == 0:
                        response = problem_response(describe(DdsrError(), request_id=request_id))
                        await response(scope, receive, send_with_headers)
            self._account(scope, status, time.perf_counter() - started, span)

    @contextmanager
    def _identified(self, scope: Scope, request_id: str, above: str) -> Iterator[Span]:
        """The request's span; what is logged and submitted in this block carries its ids."""
        method = _method(scope)
        span = OFF
        if scope["path"] not in PROBES:
            span = tracing.begin(method, role="server", parent=above, method=method, request_id=request_id)
        ids = Origin(request_id, span.traceparent or above).logged()
        with span, tracing.served(Origin(request_id, above), span), bound_contextvars(**ids):
            yield span

    def _account(self, scope: Scope, status: int, seconds: float, span: Span) -> None:
        method, route = _method(scope), _route(scope)
        self.metrics.requests.labels(method, route, str(status)).inc()
        self.metrics.seconds.labels(method, route).observe(seconds, span.exemplar)
        state = scope["state"]
        known = {"key": state.get("owner"), "code": state.get("code"), "job": state.get("job")}
        span.name(f"{method} {route}")
        span.set(route=route, status=status, job=known["job"], error=known["code"])
        if status >= 500:
            span.fail(known["code"] or DdsrError.code)
        log = self.log.debug if route in PROBES else self.log.info  # asked every few seconds
        log(
            "request",
            method=method,
            route=route,
            status=status,
            seconds=round(seconds, 4),
            **{name: value for name, value in known.items() if value},
        )


class Linger:
    """Outermost of all: lets an answer reach a client that is still sending.

    A server that closes while bytes come in resets the connection, and a client that writes its whole body before it
    reads sees no answer but a broken pipe. So the answer goes out at once, and what still comes is read and dropped,
    within bounds, before the connection is closed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int = LINGER_BYTES,
        seconds: float = LINGER_SECONDS,
        silence: float = LINGER_SILENCE,
    ) -> None:
        self.app, self.max_bytes, self.seconds, self.silence = app, max_bytes, seconds, silence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body, held = _Body(scope, receive), False

        async def holding(message: Message) -> None:
            nonlocal held
            if body.unread and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            held = body.coming and message["type"] == "http.response.body" and not message.get("more_body", False)
            await send({**message, "more_body": True} if held else message)

        await self.app(scope, body, holding)
        if held:
            await self._discard(body)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _discard(self, body: "_Body") -> None:
        end, left = anyio.current_time() + self.seconds, self.max_bytes
        while body.coming and left > 0:
            message: Message | None = None
            with anyio.move_on_after(min(self.silence, end - anyio.current_time())):
                message = await body()
            if message is None:
                return
            left -= len(message.get("body", b""))


class _Body:
    """The body of a request, read through.

    Attributes:
        unread: a part of it has not been read.
        coming: and the client sends it without being asked: whoever expects our word sends nothing before it.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = dict(scope["headers"])
        self.unread = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        self._asked = b"expect" not in headers
        self._receive = receive

    @property
    def coming(self) -> bool:
        return self.unread and self._asked

    async def __call__(self) -> Message:
        self._asked = True
        message = await self._receive()
        self.unread = message["type"] == "http.request" and message.get("more_body", False)
        return message


class HeadAsGet:
    """HEAD wherever GET is: the same answer without its body. `state.head` tells a route that must not give it away."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        ended = False

        async def bare(message: Message) -> None:
            nonlocal ended
            if message["type"] == "http.response.body":  # the first ends it: a stream of events would go on for ever
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            if not ended:
                await send(message)
            ended = message["type"] == "http.response.body"

        inner = {**scope, "method": "GET"}
        scope["state"]["head"] = True
        try:
            await self.app(inner, receive, bare)
        finally:
            scope["route"] = inner.get("route")  # for the log


class QueryGuard:
    """Refuses a form field in the query string: addresses end up in logs, histories and proxies."""

    def __init__(self, app: ASGIApp, *, fields: Iterable[str]) -> None:
        self.app = app
        self.fields = frozenset(fields)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._refuses(scope["query_string"]):
            error = SecretInQuery("send form fields in the body; consider a secret in an address as known")
            scope["state"]["code"] = error.code
            response = problem_response(describe(error, request_id=scope["state"]["request_id"]))
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refuses(self, query: bytes) -> bool:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        return any(name.strip().lower().replace("-", "_") in self.fields for name, _ in pairs)


class BodyLimit:
    """Counts the bytes of a body as they arrive, chunked or not, and the seconds.

    A body too large by its own `Content-Length` is refused at the first read: by then, the request has shown its key.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, seconds: float) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        deadline = anyio.current_time() + self.seconds
        total, complete = _content_length(scope), False
        counted = 0
        too_large = BodyTooLarge(f"the body has more than {self.max_bytes} bytes; send a smaller picture")

        async def counting() -> Message:
            nonlocal counted, complete
            if total > self.max_bytes:
                raise too_large
            if complete:
                return await receive()
            with anyio.move_on_after(deadline - anyio.current_time()) as timer:
                message = await receive()
            if timer.cancelled_caught or anyio.current_time() > deadline:
                raise SlowUpload(f"the body had not arrived within {self.seconds:g} s; send a smaller picture")
            counted += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if counted > self.max_bytes:
                raise too_large
            return message

        await self.app(scope, counting, send)


def _content_length(scope: Scope) -> int:
    value = _header(scope, b"content-length")
    return int(value) if value.isdigit() else 0


def _header(scope: Scope, wanted: bytes) -> str:
    """The first one of this name; empty without one."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), "")


def _request_id(scope: Scope) -> str:
    given = _header(scope, b"x-request-id")
    return given if REQUEST_ID.fullmatch(given) else str(uuid.uuid4())


def _method(scope: Scope) -> str:
    known = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH")
    return scope["method"] if scope["method"] in known else "other"


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", NO_ROUTE))
