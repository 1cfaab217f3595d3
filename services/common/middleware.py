"""What happens to every request before and after the framework, as plain ASGI."""

import time
import uuid
from collections.abc import Iterable
from urllib.parse import parse_qsl

import anyio
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.logs import Log, where
from services.common.metrics import ServiceMetrics
from services.common.problems import BodyTooLarge, SecretInQuery, SlowUpload, describe, problem_response
from shared.errors import DdsrError

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
NO_ROUTE = "unmatched"


class Envelope:
    """Outermost: request id, security headers, one log line, metrics, the last resort for unforeseen errors.

    The access log names the route template instead of the address, hence no query string and nothing that a
    client wrote. An unforeseen error ends here as a 500: a server's own traceback would print the error's
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
        request_id = str(uuid.uuid4())
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

        with self.metrics.in_flight.track_inprogress():
            try:
                await self.app(scope, receive, send_with_headers)
            except Exception as error:
                self.log.error("unforeseen", request=request_id, **where(error))
                if status == 0:
                    response = problem_response(describe(DdsrError(), request_id=request_id))
                    await response(scope, receive, send_with_headers)
        self._account(scope, status, time.perf_counter() - started, request_id)

    def _account(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        method, route = _method(scope), _route(scope)
        self.metrics.requests.labels(method, route, str(status)).inc()
        self.metrics.seconds.labels(method, route).observe(seconds)
        job = scope["state"].get("job")
        self.log.info(
            "request",
            request=request_id,
            method=method,
            route=route,
            status=status,
            seconds=round(seconds, 4),
            **({"job": job} if job else {}),
        )


class QueryGuard:
    """Refuses a form field in the query string: addresses end up in logs, histories and proxies."""

    def __init__(self, app: ASGIApp, *, fields: Iterable[str]) -> None:
        self.app = app
        self.fields = frozenset(fields)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._refuses(scope["query_string"]):
            error = SecretInQuery("send form fields in the body; consider a secret in an address as known")
            response = problem_response(describe(error, request_id=scope["state"]["request_id"]))
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refuses(self, query: bytes) -> bool:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        return any(name.strip().lower().replace("-", "_") in self.fields for name, _ in pairs)


class BodyLimit:
    """Counts the bytes of a body as they arrive, chunked or not, and the seconds.

    The errors are `HTTPException`s because FastAPI turns any other one that occurs while it reads a form
    into a 400. A body too large by its own `Content-Length` is refused at the first read: by then, the
    request has shown its key.
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

        async def counting() -> Message:
            nonlocal counted, complete
            if total > self.max_bytes:
                raise HTTPException(BodyTooLarge.status, f"a body has at most {self.max_bytes} bytes here")
            if complete:
                return await receive()
            with anyio.move_on_after(deadline - anyio.current_time()) as timer:
                message = await receive()
            if timer.cancelled_caught or anyio.current_time() > deadline:
                raise HTTPException(SlowUpload.status)
            counted += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if counted > self.max_bytes:
                raise HTTPException(BodyTooLarge.status, f"a body has at most {self.max_bytes} bytes here")
            return message

        await self.app(scope, counting, send)


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _method(scope: Scope) -> str:
    known = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH")
    return scope["method"] if scope["method"] in known else "other"


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", NO_ROUTE))
