"""Every answer that is no success: RFC 9457 `application/problem+json` with a stable `code`.

The errors below belong to HTTP alone; the others come from `shared.errors`. `code` names the class, and the
class its status and title, for the handlers and the OpenAPI documents.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from shared.errors import DdsrError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:ddsr:problem:"
UNKNOWN_FIELD = "<unknown>"  # in place of a name that the client made up
_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class BadRequest(DdsrError):
    code, status, title = "bad-request", 400, "The request is malformed"


class SecretInQuery(DdsrError):
    code, status, title = "secret-in-query", 400, "A form field stands in the query string"


class Unauthenticated(DdsrError):
    code, status, title = "unauthenticated", 401, "A valid API key is needed"


class NotFound(DdsrError):
    code, status, title = "not-found", 404, "There is nothing at this address"


class MethodNotAllowed(DdsrError):
    code, status, title = "method-not-allowed", 405, "The address does not take this method"


class NotAcceptable(DdsrError):
    code, status, title = "not-acceptable", 406, "No acceptable media type can be produced"


class SlowUpload(DdsrError):
    code, status, title = "slow-upload", 408, "The body did not arrive in time"


class BodyTooLarge(DdsrError):
    code, status, title = "body-too-large", 413, "The body is too large"


class UnsupportedMediaType(DdsrError):
    code, status, title = "unsupported-media-type", 415, "The body has the wrong media type"


class Issue(BaseModel):
    """Where a request breaks a rule, and which; never the value that broke it."""

    loc: list[str] = Field(examples=[["body", "identity_prompt"]])
    type: str = Field(examples=["missing"])


class InvalidRequest(DdsrError):
    """`issues` are the places."""

    code, status, title = "invalid-request", 422, "A field or a parameter is invalid"

    def __init__(self, detail: str = "", *, issues: Sequence[Issue] = ()) -> None:
        super().__init__(detail)
        self.issues = list(issues)


class RateLimited(DdsrError):
    code, status, title = "rate-limited", 429, "Too many requests"
    retry_after: int | None = None


class TooBusy(DdsrError):
    code, status, title = "too-busy", 503, "Too many uploads at a time"


class NotReady(DdsrError):
    code, status, title = "not-ready", 503, "The service is not ready"


class Problem(BaseModel):
    """RFC 9457, with `code` for programs."""

    model_config = ConfigDict(title="Problem")
    media_type: ClassVar[str] = MEDIA_TYPE

    type: str = Field(examples=["urn:ddsr:problem:rate-limited"])
    title: str = Field(examples=["Too many requests"])
    status: int = Field(ge=400, le=599, examples=[429])
    code: str = Field(pattern="^[a-z-]+$", examples=["rate-limited"])
    detail: str = Field(examples=["no more than 60 per 1 minute"])
    instance: str | None = Field(
        default=None, description="the request, as in the header `X-Request-ID`", examples=["urn:uuid:5f0c"]
    )
    job: str | None = Field(default=None, description="the job that failed, if one did")
    errors: list[Issue] | None = Field(default=None, description="with `invalid-request` only")


def describe(
    error: DdsrError,
    *,
    request_id: str | None = None,
    job: str | None = None,
    issues: list[Issue] | None = None,
) -> Problem:
    """The body for an error; `error.detail` is safe by its contract."""
    return Problem(
        type=TYPE_PREFIX + error.code,
        title=error.title,
        status=error.status,
        code=error.code,
        detail=error.detail,
        instance=_instance(request_id),
        job=job,
        errors=issues,
    )


def _instance(request_id: str | None) -> str | None:
    """A name of the request as a URI; only one that we gave is sure to be a UUID."""
    if request_id is None:
        return None
    return f"urn:uuid:{request_id}" if _UUID.fullmatch(request_id) else f"urn:ddsr:request:{request_id}"


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer; 401 and 503 get the headers that HTTP asks for."""
    extra = dict(headers or {})
    if problem.status == 401:
        extra.setdefault("WWW-Authenticate", 'Bearer realm="ddsr"')
    if problem.status in (429, 503):
        extra.setdefault("Retry-After", "2")
    content: dict[str, Any] = problem.model_dump(exclude_none=True)
    return JSONResponse(content, problem.status, headers=extra, media_type=MEDIA_TYPE)
