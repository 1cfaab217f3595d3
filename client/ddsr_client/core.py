"""What the client does, without doing it: flows that yield commands and are sent the outcomes.

    submit    POST with an idempotency key, as often as the policy allows; a job in flight of that key is joined
    wait      GET /jobs/{id}?wait=, or the event stream where somebody wants to see the progress
    fetch     GET /jobs/{id}/result
    complete  the three in a row; cancels the job when its caller gives up

The clock and the randomness are arguments, so that the flows run in a test without either.
"""

import logging
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import quote, urlencode

from ddsr_client.errors import ClientError, ConnectionFailed, IdempotencyConflict, WaitTimeout
from ddsr_client.models import Box, Channel, Crop, Job, Kind, PictureFormat, Scheme, State
from ddsr_client.pictures import Picture, PictureSource, take
from ddsr_client.retry import Deadline, Retry
from ddsr_client.secret import Secret
from ddsr_client.settings import Service, Settings
from ddsr_client.sse import EventParser
from ddsr_client.wire import (
    AsyncProgress,
    Command,
    Emit,
    Flow,
    NoReply,
    Notify,
    Open,
    Read,
    Reply,
    Request,
    Send,
    Sleep,
    error_of,
    job_of,
    page_of,
    picture_of,
)

T = TypeVar("T")
SLICE = 25.0  # seconds of one waiting request; proxies end silent ones after a minute
MARGIN = 5.0  # seconds more than it was asked to wait, that a service may take
SILENCE = 20.0  # seconds without a line after which an event stream is opened anew
SHORTEST_SILENCE = 1.0
EAGER = 0.5  # seconds between two looks where the service does not wait
PAGE = 100  # jobs of a page, the most that a service gives
FAREWELL = 3.0  # seconds for cancelling a job whose caller gives up
MEDIA_TYPES: Mapping[PictureFormat, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_LOG = logging.getLogger("ddsr_client")
Tell = Callable[[Job], Command]


@dataclass(frozen=True)
class Started:
    """A submitted job, and its picture where the idempotency key is that of a finished one."""

    kind: Kind
    id: str
    picture: Picture | None = None
    crop: Box | None = None


class Core:
    """All flows of one client. `clock` gives seconds of any origin."""

    def __init__(
        self,
        settings: Settings,
        retry: Retry,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._retry = retry
        self._clock = clock
        self._rng = rng or random.Random()

    def hide_request(
        self,
        image: PictureSource,
        identity_prompt: Secret,
        disguise_prompt: str,
        *,
        scheme: Scheme | None,
        channel: Channel | None,
        face_size: int | None,
        steps: int | None,
        format: PictureFormat,
        crop: Crop,
        webhook: str | None,
        idempotency_key: str | None,
    ) -> Request:
        """`POST /hide`. Reads the picture."""
        fields: dict[str, str | Secret | None] = {
            "identity_prompt": identity_prompt,
            "disguise_prompt": disguise_prompt,
            "scheme": scheme,
            "channel": channel,
            "face_size": None if face_size is None else str(face_size),
            "steps": None if steps is None else str(steps),
            "format": format,
            "crop": crop,
            "webhook": webhook,
        }
        return self._submission("hide", fields, ("image", take(image).data), idempotency_key, {})

    def recover_request(
        self,
        stego: PictureSource,
        identity_prompt: Secret,
        *,
        recipe: str | None,
        decoy: bool,
        format: PictureFormat,
        webhook: str | None,
        idempotency_key: str | None,
    ) -> Request:
        """`POST /recover`. Reads the picture; a recipe that travelled with it is sent along."""
        upload = take(stego)
        fields = {
            "identity_prompt": identity_prompt,
            "recipe": recipe or upload.recipe,
            "decoy": "true" if decoy else None,
            "webhook": webhook,
        }
        accept = {"Accept": MEDIA_TYPES[format]}
        return self._submission("recover", fields, ("stego", upload.data), idempotency_key, accept)

    def submit(self, kind: Kind, request: Request, seconds: float | None) -> Flow[Started]:
        """Queue a job; after an answer was lost, find it again."""
        return self._submit(kind, request, self._deadline(seconds))

    def complete(
        self, kind: Kind, request: Request, seconds: float | None, progress: AsyncProgress | None
    ) -> Flow[Picture]:
        """Submit, wait, fetch. An interruption, a time-out or an error of `progress` cancels the job."""
        deadline = self._deadline(seconds)
        started = yield from self._submit(kind, request, deadline)
        if started.picture is not None:
            return started.picture
        try:
            yield from self._wait(kind, started.id, deadline, progress)
        except GeneratorExit:
            raise
        except BaseException:
            farewell = self._request("DELETE", kind, _path(started.id), patience=FAREWELL)
            yield Send(farewell, shielded=True)  # whatever comes of it: the job ends by itself too
            raise
        return (yield from self._fetch(started, deadline))

    def wait(self, kind: Kind, job_id: str, seconds: float | None, progress: AsyncProgress | None) -> Flow[Job]:
        """The job's end. Raises WaitTimeout."""
        return self._wait(kind, job_id, self._deadline(seconds), progress)

    def result(self, started: Started, seconds: float | None, progress: AsyncProgress | None) -> Flow[Picture]:
        """The job's end and its picture, or the error that it failed with."""
        if started.picture is not None:
            return started.picture
        deadline = self._deadline(seconds)
        yield from self._wait(started.kind, started.id, deadline, progress)
        return (yield from self._fetch(started, deadline))

    def events(self, kind: Kind, job_id: str, seconds: float | None) -> Flow[Job]:
        """Emits the job now and after every change, its end included."""
        return self._follow(kind, job_id, self._deadline(seconds), Emit)

    def status(self, kind: Kind, job_id: str, seconds: float | None) -> Flow[Job]:
        """The job now."""
        reply = yield from self._exchange(self._request("GET", kind, _path(job_id)), self._deadline(seconds))
        return job_of(reply.status, reply.content)

    def jobs(self, kind: Kind, states: Sequence[State], seconds: float | None) -> Flow[None]:
        """Emits the caller's jobs, newest first. `seconds` are those of a page."""
        query: list[tuple[str, str | int]] = [("limit", PAGE), *(("state", state) for state in states)]
        cursor: str | None = None
        while True:
            page = urlencode(query if cursor is None else [*query, ("cursor", cursor)])
            request = self._request("GET", kind, f"/jobs?{page}")
            jobs, cursor = page_of((yield from self._exchange(request, self._deadline(seconds))))
            for job in jobs:
                yield Emit(job)
            if cursor is None:
                return

    def cancel(self, kind: Kind, job_id: str, seconds: float | None) -> Flow[Job]:
        """End a job; of one that has ended, the result is dropped."""
        reply = yield from self._exchange(self._request("DELETE", kind, _path(job_id)), self._deadline(seconds))
        return job_of(reply.status, reply.content)

    def ready(self, kind: Kind) -> Flow[bool]:
        """Whether the service would take a job now. Asks once."""
        outcome = yield Send(self._request("GET", kind, "/readyz"))
        return error_of(outcome) is None

    def _deadline(self, seconds: float | None) -> Deadline:
        return Deadline(seconds, self._clock)

    def _request(self, method: str, kind: Kind, path: str, *, patience: float = 30.0) -> Request:
        service: Service = self._settings.of(kind)
        return Request(method, service.url + path, key=service.key, patience=patience)

    def _submission(
        self,
        kind: Kind,
        fields: Mapping[str, str | Secret | None],
        file: tuple[str, bytes],
        idempotency_key: str | None,
        headers: Mapping[str, str],
    ) -> Request:
        service = self._settings.of(kind)
        key = idempotency_key or str(uuid.uuid4())
        given = {name: value for name, value in fields.items() if value is not None}
        extra = {"Prefer": "respond-async", "Idempotency-Key": key, **headers}
        return Request("POST", f"{service.url}/{kind}", extra, service.key, given, file, patience=60.0)

    def _exchange(self, request: Request, deadline: Deadline) -> Flow[Reply]:
        """The answer of 2xx, tried as often as policy and deadline allow; else the last error."""
        done = 0
        while True:
            outcome: Reply | NoReply = yield Send(request.within(deadline.left()))
            error = error_of(outcome)
            if error is None:
                assert isinstance(outcome, Reply)  # noqa: S101 - NoReply always is an error
                return outcome
            yield from self._pause(done, error, deadline)
            done += 1

    def _pause(self, done: int, error: ClientError, deadline: Deadline) -> Flow[None]:
        """Wait before another try, or raise `error` where there shall be none."""
        seconds = self._retry.pause(done, error, self._rng)
        if seconds is None or seconds >= deadline.left():
            raise error
        _LOG.info("%s; trying again in %.1f s", error, seconds)
        yield Sleep(seconds)

    def _submit(self, kind: Kind, request: Request, deadline: Deadline) -> Flow[Started]:
        try:
            reply = yield from self._exchange(request, deadline)
        except IdempotencyConflict as conflict:
            if conflict.job_id is None:
                raise
            return Started(kind, conflict.job_id)
        if reply.status == 202:
            crop = Box.parse(reply.headers.get("ddsr-crop"))
            return Started(kind, job_of(reply.status, reply.content).id, crop=crop)
        picture = picture_of(reply)
        return Started(kind, picture.job_id or "", picture, picture.crop)

    def _wait(self, kind: Kind, job_id: str, deadline: Deadline, progress: AsyncProgress | None) -> Flow[Job]:
        if progress is None:
            return self._poll(kind, job_id, deadline)
        call = progress
        return self._follow(kind, job_id, deadline, lambda job: Notify(call, job))

    def _poll(self, kind: Kind, job_id: str, deadline: Deadline) -> Flow[Job]:
        while True:
            begun, left = self._clock(), deadline.left()
            seconds = min(SLICE, left)
            request = self._request("GET", kind, _path(job_id, f"?wait={seconds:.2f}"), patience=seconds + MARGIN)
            reply = yield from self._exchange(request, Deadline(left + MARGIN, self._clock))
            job = job_of(reply.status, reply.content)
            if job.ended:
                return job
            if deadline.left() <= 0:
                raise WaitTimeout(job_id)
            if self._clock() - begun < min(seconds, EAGER) / 2:
                yield Sleep(min(EAGER, deadline.left()))

    def _follow(self, kind: Kind, job_id: str, deadline: Deadline, tell: Tell) -> Flow[Job]:
        """The event stream, opened again whenever it is silent or breaks; every change is told once."""
        request = self._request("GET", kind, _path(job_id, "/events"))
        done, last = 0, None
        while True:
            # half of what is left: a silent stream cannot be left before, and the call shall end in time
            patience = min(SILENCE, max(deadline.left() / 2, SHORTEST_SILENCE))
            outcome: Reply | NoReply = yield Open(request.within(patience))
            error = error_of(outcome)
            if error is None:
                heard = yield from self._listen(job_id, deadline, tell, last, patience)
                if heard is not None:
                    if heard.ended:
                        return heard
                    done, last = -1, heard  # a stream that said something is no failure
                error = ConnectionFailed("the event stream broke off")
            if deadline.left() <= 0:
                raise WaitTimeout(job_id)
            if done < 0:
                yield Sleep(min(EAGER, deadline.left()))
            else:
                yield from self._pause(done, error, deadline)
            done += 1

    def _listen(
        self, job_id: str, deadline: Deadline, tell: Tell, last: Job | None, patience: float
    ) -> Flow[Job | None]:
        """Tell every change until the stream, the job or the time ends; the job as it was seen last, in this stream."""
        parser, seen = EventParser(), None
        while True:
            line: str | NoReply | None = yield Read()
            if not isinstance(line, str):
                return seen
            event = parser.feed(line)
            if event is not None:
                seen = job_of(200, event.data)
                if seen != last:
                    yield tell(seen)
                    last = seen
                if seen.ended:
                    return seen
            if deadline.left() <= 0:
                raise WaitTimeout(job_id)
            if patience > SHORTEST_SILENCE and deadline.left() < patience:
                return seen

    def _fetch(self, started: Started, deadline: Deadline) -> Flow[Picture]:
        """The picture. The service keeps it for a minute after the first reading: a broken one is read again."""
        patient = Deadline(max(deadline.left(), MARGIN), self._clock)
        reply = yield from self._exchange(self._request("GET", started.kind, _path(started.id, "/result")), patient)
        return replace(picture_of(reply), crop=started.crop)


def _path(job_id: str, rest: str = "") -> str:
    """Of a job; an id that somebody made up stays one piece of the path."""
    return f"/jobs/{quote(job_id, safe='')}{rest}"
