"""Every error that the client raises.

    ClientError
    |-- ConfigurationError (ValueError)   an address or a key that cannot be used
    |-- ConnectionFailed                  no answer, after every try
    |-- WaitTimeout (TimeoutError)        the time given to the call is over; `job_id` names the job
    |-- UnexpectedAnswer                  an answer that is none of the API's (a proxy's page); `status`
    `-- Problem                           an RFC 9457 problem of the service
        |-- InvalidInput                  the request is at fault; the same request fails again
        |   |-- PictureRefused            unsupported, damaged, of the wrong size, without a face
        |   |-- PromptRefused             empty, with control characters, or too long
        |   |-- RecipeRefused             missing, unreadable, or of another model
        |   |-- NotAuthentic              no face: wrong prompt, or a picture changed beyond repair
        |   |-- ChannelTooPoor            the named channel does not carry the face
        |   `-- IdempotencyMismatch       the idempotency key belongs to another request
        |-- Unauthenticated               no API key, or a wrong one
        |-- JobProblem                    what a job's own life can end in
        |   |-- JobNotFound               none of this id, or another owner's
        |   |-- JobNotReady               still queued or running
        |   |-- JobCancelled
        |   |-- JobGone                   expired, or its result was read more than a minute ago
        |   `-- JobFailed                 the computation failed, took too long or lost its workers
        |-- IdempotencyConflict           a job of this key is in flight; `job_id` names it
        |-- RateLimited                   too many requests; `retry_after`
        |-- Unavailable                   queue full, no worker, Redis away, too busy; `retry_after`
        `-- ServiceError                  an error of the service's own

No error holds a request, so none holds an identity prompt, an API key or a picture.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


class ClientError(Exception):
    """Base of all errors of this package. `retryable`: the same request may succeed later."""

    retryable: bool = False


class ConfigurationError(ClientError, ValueError):
    """An address or a key that cannot be used."""


class ConnectionFailed(ClientError):
    """The service did not answer. The text names the kind of failure, never the request."""

    retryable = True


class WaitTimeout(ClientError, TimeoutError):
    """The job had not ended when the time was over."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} has not ended in the time given")
        self.job_id = job_id


class UnexpectedAnswer(ClientError):
    """An answer that the API does not give; its body is not kept."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(f"unexpected answer with status {status}: {why}")
        self.status = status
        self.retryable = status in (429, 502, 503, 504)


@dataclass(frozen=True)
class Issue:
    """A place of the request that breaks a rule, and the rule; never the value."""

    loc: tuple[str, ...]
    type: str


class Problem(ClientError):
    """What the service said (RFC 9457).

    Attributes:
        status: of HTTP.
        code: stable, for programs; the table is in the service's documentation of its interface.
        title, detail: for people. They hold no secrets.
        type, instance: as in the RFC; `instance` is `urn:uuid:` and the request's id in the service's log.
        job_id: the job that failed, or that is in flight.
        retry_after: seconds after which to ask again, where the service said so.
        issues: of `invalid-request`.
    """

    codes: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, status: int, body: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.code = _text(body, "code") or "unknown"
        self.title = _text(body, "title") or f"HTTP status {status}"
        self.detail = _text(body, "detail") or self.title
        self.type = _text(body, "type") or "about:blank"
        self.instance = _text(body, "instance")
        self.job_id = _text(body, "job")
        self.retry_after = retry_after
        self.issues = _issues(body.get("errors"))
        places = "; ".join(f"{'.'.join(issue.loc)}: {issue.type}" for issue in self.issues)
        super().__init__(f"{self.code} ({status}): {self.detail}" + (f" [{places}]" if places else ""))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.args, self.__dict__)


class InvalidInput(Problem):
    """The request is at fault."""

    codes = frozenset(
        {
            "bad-input",
            "bad-request",
            "secret-in-query",
            "not-found",
            "method-not-allowed",
            "not-acceptable",
            "unsupported-media-type",
            "invalid-option",
            "invalid-request",
        }
    )


class PictureRefused(InvalidInput):
    """The picture cannot be used."""

    codes = frozenset(
        {
            "unsupported-picture",
            "broken-picture",
            "picture-too-large",
            "wrong-picture-size",
            "body-too-large",
            "no-face",
            "several-faces",
        }
    )


class PromptRefused(InvalidInput):
    """A prompt cannot be used."""

    codes = frozenset({"invalid-prompt", "prompt-too-long"})


class RecipeRefused(InvalidInput):
    """The recipe is missing, unreadable, or of another model."""

    codes = frozenset({"invalid-recipe", "missing-recipe", "recipe-mismatch"})


class NotAuthentic(InvalidInput):
    """No face: the prompt is wrong, or the picture was changed beyond repair."""

    codes = frozenset({"not-authentic"})


class ChannelTooPoor(InvalidInput):
    """The face does not fit the named channel; the detail says what would help."""

    codes = frozenset({"channel-too-poor"})


class IdempotencyMismatch(InvalidInput):
    """The idempotency key was used with another request."""

    codes = frozenset({"idempotency-mismatch"})


class Unauthenticated(Problem):
    """No API key, or a wrong one."""

    codes = frozenset({"unauthenticated"})


class JobProblem(Problem):
    """What a job's own life can end in."""


class JobNotFound(JobProblem):
    """No job of this id belongs to this key."""

    codes = frozenset({"job-not-found"})


class JobNotReady(JobProblem):
    """The job is still queued or running."""

    codes = frozenset({"job-not-ready"})


class JobCancelled(JobProblem):
    """The job was cancelled."""

    codes = frozenset({"job-cancelled"})


class JobGone(JobProblem):
    """The job expired, or its result was read more than a minute ago."""

    codes = frozenset({"job-gone"})


class JobFailed(JobProblem):
    """The job has failed for good; the service has made its own attempts. A new call makes a new job."""

    codes = frozenset(
        {
            "computation-failed",
            "job-timeout",
            "worker-lost",
            "job-error",
            "solver-error",
            "model-error",
            "envelope-error",
        }
    )


class IdempotencyConflict(Problem):
    """A job of this idempotency key is in flight. The client joins it where the service names it, else asks again."""

    codes = frozenset({"idempotency-conflict"})

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        return self.job_id is None


class RateLimited(Problem):
    """Too many requests."""

    codes = frozenset({"rate-limited"})
    retryable = True


class Unavailable(Problem):
    """The service cannot take the request now."""

    codes = frozenset(
        {
            "queue-error",
            "queue-full",
            "no-worker",
            "queue-unavailable",
            "too-busy",
            "not-ready",
            "slow-upload",
        }
    )
    retryable = True


class ServiceError(Problem):
    """An error of the service's own."""

    codes = frozenset({"internal", "key-file"})


def problem_from(status: int, content: bytes, retry_after: float | None) -> Problem | None:
    """The problem in a body of `application/problem+json`; None when it is none. Unknown codes go by the status."""
    try:
        body = json.loads(content)
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    kind = _BY_CODE.get(str(body.get("code"))) or _by_status(status)
    return kind(status, body, retry_after)


def _by_status(status: int) -> type[Problem]:
    exact: dict[int, type[Problem]] = {401: Unauthenticated, 403: Unauthenticated, 408: Unavailable, 429: RateLimited}
    if status in exact:
        return exact[status]
    if status in (502, 503, 504):
        return Unavailable
    return ServiceError if status >= 500 else InvalidInput


def _tree(root: type[Problem]) -> list[type[Problem]]:
    return [root, *(found for child in root.__subclasses__() for found in _tree(child))]


_BY_CODE = {code: kind for kind in _tree(Problem) for code in kind.codes}


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) else None


def _issues(found: object) -> tuple[Issue, ...]:
    if not isinstance(found, list):
        return ()
    places = [item for item in found if isinstance(item, dict) and isinstance(item.get("loc"), list)]
    return tuple(Issue(tuple(map(str, item["loc"])), str(item.get("type"))) for item in places)


def _rebuilt(kind: type[Problem], args: tuple[Any, ...], state: dict[str, Any]) -> Problem:
    """A problem out of a pickle; `__init__` takes a body that is gone."""
    problem = kind.__new__(kind)
    problem.args = args
    problem.__dict__.update(state)
    return problem
