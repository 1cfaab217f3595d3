"""The one place where an exception becomes an answer."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from services.common.context import context_of
from services.common.problems import (
    UNKNOWN_FIELD,
    BadRequest,
    InvalidRequest,
    Issue,
    MethodNotAllowed,
    NotFound,
    describe,
    problem_response,
)
from shared.errors import DdsrError

_FRAMEWORK: Mapping[int, tuple[type[DdsrError], str]] = {
    400: (BadRequest, "the body is no well-formed form"),
    404: (NotFound, "the addresses of this service are listed in /openapi.json"),
    405: (MethodNotAllowed, ""),
}


def install_handlers(app: FastAPI) -> None:
    """Answer every foreseen error of `app` as a problem; unforeseen ones end in `middleware.RequestContext`."""
    app.add_exception_handler(DdsrError, _deliberate)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(RequestValidationError, _validation)


async def _deliberate(request: Request, error: Exception) -> JSONResponse:
    return _answer(request, cast(DdsrError, error))


async def _framework(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    if error.status_code == 204:
        return Response(status_code=204)
    kind, detail = _FRAMEWORK.get(error.status_code, (DdsrError, ""))
    headers = dict(error.headers or {})
    if error.status_code == 405 and (methods := _methods(request)):
        headers["Allow"] = ", ".join(methods)
        detail = f"this address takes {headers['Allow']}"
    return _answer(request, kind(detail), headers=headers)


def _methods(request: Request) -> list[str]:
    """All methods of the address; each has a route of its own, and the framework's error names those of one."""
    address = getattr(request.scope.get("route"), "path", "")
    methods = {method.upper() for method in request.app.openapi()["paths"].get(address, {})}
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


async def _validation(request: Request, error: Exception) -> JSONResponse:
    error = cast(RequestValidationError, error)
    issues = [Issue(loc=_location(item), type=item["type"]) for item in error.errors()]
    words = [f"{issue.loc[-1]}: {item['msg']}" for issue, item in zip(issues, error.errors(), strict=True)]
    return _answer(request, InvalidRequest("; ".join(words), issues=issues))


def _answer(
    request: Request,
    error: DdsrError,
    *,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    context = context_of(request)
    context.metrics.problems.labels(error.code).inc()
    request.state.code = error.code
    if error.status >= 500:
        context.log.warning("problem", code=error.code)
    job = getattr(error, "job_id", None) or getattr(request.state, "job", None)
    issues = getattr(error, "issues", None)
    problem = describe(error, request_id=request.state.request_id, job=job, issues=issues)
    extra = dict(headers or {})
    if error.status in (429, 503):
        extra["Retry-After"] = str(getattr(error, "retry_after", None) or context.settings.retry_after)
    return problem_response(problem, extra)


def _location(item: Mapping[str, Any]) -> list[str]:
    """Where a rule was broken. The name of an unknown field is the client's own text, so it stays out."""
    place: Sequence[Any] = item["loc"]
    if item["type"] == "extra_forbidden":
        return [str(part) for part in place[:-1]] + [UNKNOWN_FIELD]
    return [str(part) for part in place]
