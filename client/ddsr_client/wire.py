"""Requests and answers as plain values, the commands that the flows give to a driver, and the way between them.

Nothing here sends anything. `ddsr_client.core` decides what to do next and yields a `Command`; the drivers in
`ddsr_client.aio` and `ddsr_client.sync` do it and send the outcome back.
"""

import json
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeAlias, TypeVar

import httpx

from ddsr_client.errors import ClientError, ConnectionFailed, UnexpectedAnswer, problem_from
from ddsr_client.models import Box, Job
from ddsr_client.pictures import Picture
from ddsr_client.retry import parse_retry_after
from ddsr_client.secret import Secret

T = TypeVar("T")
Progress: TypeAlias = Callable[[Job], object]
AsyncProgress: TypeAlias = Callable[[Job], object | Awaitable[object]]
CONNECT = 10.0  # seconds for a connection
UPLOAD = 60.0  # seconds for one write of a body
SHORTEST = 0.05  # seconds; a time-out of 0 would mean at once
PROBLEM = "application/problem+json"
_TRUTH = {"true": True, "false": False}


def _user_agent() -> str:
    try:
        return f"ddsr-client/{version('ddsr-client')}"
    except PackageNotFoundError:
        return "ddsr-client"


@dataclass(frozen=True)
class Request:
    """One request. Secrets stay inside `Secret` until the driver hands them to httpx.

    `patience`: seconds for which the service may be silent.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    key: Secret | None = None
    fields: Mapping[str, str | Secret] = field(default_factory=dict)
    file: tuple[str, bytes] | None = field(default=None, repr=False)
    patience: float = 30.0

    def within(self, seconds: float) -> "Request":
        """The same with no more patience than that."""
        return replace(self, patience=max(SHORTEST, min(self.patience, seconds)))

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `httpx.Client.build_request`. They hold the secrets: keep them in no variable."""
        plain = {name: value.reveal() if isinstance(value, Secret) else value for name, value in self.fields.items()}
        headers = {"User-Agent": _user_agent(), **self.headers}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key.reveal()}"
        timeout = httpx.Timeout(self.patience, connect=min(CONNECT, self.patience), write=UPLOAD)
        found: dict[str, Any] = {"method": self.method, "url": self.url, "headers": headers, "timeout": timeout}
        if self.file is not None:
            name, data = self.file
            found |= {"data": plain, "files": {name: (name, data, "application/octet-stream")}}
        return found


@dataclass(frozen=True)
class Reply:
    """An answer. Header names are in lower case; the body of an open stream is empty."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(default=b"", repr=False)

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class NoReply:
    """What kept a request or a stream from its answer, as a word. httpx's own error holds the request: it stays out."""

    why: str


@dataclass(frozen=True)
class Send:
    """Send and read the answer. The outcome is a Reply or NoReply. `shielded`: even while being cancelled."""

    request: Request
    shielded: bool = False


@dataclass(frozen=True)
class Open:
    """Send and leave the body of a 200 unread, for `Read`; the outcome is as of `Send`. Closes an earlier stream."""

    request: Request


@dataclass(frozen=True)
class Read:
    """One line of the open stream. The outcome is a str, None at its end, or NoReply."""


@dataclass(frozen=True)
class Sleep:
    """Do nothing for some seconds."""

    seconds: float


@dataclass(frozen=True)
class Notify:
    """Call the caller's progress function, and await what it gives back where that can be awaited."""

    progress: AsyncProgress
    job: Job


@dataclass(frozen=True)
class Emit:
    """Hand a job to whoever iterates."""

    job: Job


Command: TypeAlias = Send | Open | Read | Sleep | Notify | Emit
Flow: TypeAlias = Generator[Command, Any, T]


def error_of(outcome: Reply | NoReply) -> ClientError | None:
    """The error that an outcome means; None for an answer of 2xx."""
    if isinstance(outcome, NoReply):
        return ConnectionFailed(f"no answer from the service ({outcome.why})")
    if 200 <= outcome.status < 300:
        return None
    retry_after = parse_retry_after(outcome.headers.get("retry-after"), time.time())
    problem = problem_from(outcome.status, outcome.content, retry_after) if outcome.media_type == PROBLEM else None
    return problem or UnexpectedAnswer(outcome.status, f"a body of type {outcome.media_type or 'unknown'}")


def picture_of(reply: Reply) -> Picture:
    """The picture of an answer. Raises UnexpectedAnswer."""
    if not reply.media_type.startswith("image/"):
        raise UnexpectedAnswer(reply.status, "no picture")
    headers = reply.headers
    return Picture(
        data=reply.content,
        media_type=reply.media_type,
        recipe=headers.get("ddsr-recipe"),
        job_id=headers.get("ddsr-job"),
        seconds=_seconds(headers.get("server-timing", "")),
        crop=Box.parse(headers.get("ddsr-crop")),
        authentic=_TRUTH.get(headers.get("ddsr-authentic", "")),
    )


def job_of(status: int, text: bytes | str) -> Job:
    """The job of an answer or an event. Raises UnexpectedAnswer."""
    try:
        return Job.parse(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnexpectedAnswer(status, "no job") from None


def page_of(reply: Reply) -> tuple[list[Job], str | None]:
    """The jobs of a page, and the cursor of the next one. Raises UnexpectedAnswer."""
    try:
        body = json.loads(reply.content)
        following = body["next"]
        return [Job.parse(job) for job in body["jobs"]], None if following is None else str(following)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnexpectedAnswer(reply.status, "no page of jobs") from None


def _seconds(timing: str) -> float | None:
    """Of `compute;dur=MILLISECONDS` in a `Server-Timing`."""
    for entry in timing.split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        durations = [part[4:] for part in parameters if part.startswith("dur=")]
        if name == "compute" and durations:
            try:
                return float(durations[0]) / 1000
            except ValueError:
                return None
    return None
