# Made from aio.py by `make client`. Do not edit.
"""The clients. `sync.py` is made from `aio.py` by `make client`: change that one."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from ddsr_client.base import DIRECT, ClientBase, HandleBase, reply_of
from ddsr_client.core import Started
from ddsr_client.models import Channel, Crop, Job, Kind, PictureFormat, Scheme, State
from ddsr_client.pauses import pause, shield, tell
from ddsr_client.pictures import Picture, PictureSource
from ddsr_client.retry import Retry
from ddsr_client.secret import Secret
from ddsr_client.wire import (
    Command,
    Emit,
    Flow,
    NoReply,
    Notify,
    Open,
    Progress,
    Read,
    Reply,
    Request,
    Send,
    Sleep,
)

T = TypeVar("T")


class Client(ClientBase):
    """Hides and recovers faces through a sender and a receiver. Use it as a context manager or close it.

    `Client` blocks and may be used by several threads. `AsyncClient` is awaited, and its `progress` may be a coroutine
    function. All else is the same.

    Args:
        sender_url, receiver_url: addresses; else `DDSR_SENDER_URL` and `DDSR_RECEIVER_URL`, else this machine.
        api_key: key for both services; else `DDSR_API_KEY_FILE`, else `DDSR_API_KEY`, else none.
        receiver_api_key: a key of its own for the receiver.
        timeout: seconds of a whole call unless the call says otherwise; None: no end.
        retry: how often to try again.
        insecure_http: allow http to another machine; the identity prompt then travels in the clear.
        http: an httpx client of your own (proxies, certificates); it is not closed. Ours uses the environment's proxy
            for https alone: over http the proxy would read all.

    Raises:
        ConfigurationError: an address or a key file that cannot be used.
    """

    def __init__(
        self,
        sender_url: str | None = None,
        receiver_url: str | None = None,
        *,
        api_key: str | Secret | None = None,
        receiver_api_key: str | Secret | None = None,
        timeout: float | None = 300.0,
        retry: Retry | None = None,
        insecure_http: bool = False,
        http: httpx.Client | None = None,
    ) -> None:
        super().__init__(sender_url, receiver_url, api_key, receiver_api_key, timeout, retry, insecure_http)
        self._http = http or httpx.Client(mounts=DIRECT)
        self._owned = http is None

    def hide(
        self,
        image: PictureSource,
        identity_prompt: str | Secret,
        disguise_prompt: str,
        *,
        scheme: Scheme | None = None,
        channel: Channel | None = None,
        face_size: int | None = None,
        steps: int | None = None,
        format: PictureFormat = "png",
        crop: Crop = "auto",
        progress: Progress | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> Picture:
        """Hide a face; waits for the stego. Where the caller gives up (time-out, Ctrl-C, a cancelled task), the job is
        cancelled.

        Args:
            image: the face: bytes, a path, a Pillow image or a Picture.
            identity_prompt: the secret; in the request's body and nowhere else.
            disguise_prompt: public: what the stego shall show.
            scheme: `sealed`, `keyed` or `paper`; default: the service's.
            channel: of `sealed`, what the stego shall survive: `lossless` (the default), `jpeg`, `messenger` or
                `degraded`.
            face_size: of `sealed`, the edge of the face that comes back: 128 (the default), 160, 192 or 256 pixels.
            progress: called with a `Job` for every change: place in the queue, step k of n, the end.
            timeout: seconds for everything, tries and queue included; default: the client's.
            idempotency_key: of your own, to come back to the job from another process.

        Raises:
            ChannelTooPoor: the face does not fit through the channel.
            ClientError: see `ddsr_client.errors`. OSError: the file cannot be read.
        """
        identity_prompt = Secret(identity_prompt)  # no traceback shall show a frame that holds the text
        request = self._core.hide_request(
            image,
            identity_prompt,
            disguise_prompt,
            scheme=scheme,
            channel=channel,
            face_size=face_size,
            steps=steps,
            format=format,
            crop=crop,
            webhook=None,
            idempotency_key=idempotency_key,
        )
        return self._run(self._core.complete("hide", request, self._seconds(timeout), progress))

    def recover(
        self,
        stego: PictureSource,
        identity_prompt: str | Secret,
        *,
        recipe: str | None = None,
        decoy: bool = False,
        format: PictureFormat = "png",
        progress: Progress | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> Picture:
        """Recover a face; waits for it. `Picture.authentic` says whether it is what the sender hid.

        Of the schemes `keyed` and `paper`, a wrong identity prompt gives a stranger's picture and no error.

        Args:
            recipe: the sender's; needed where the channel took it out of the picture.
            decoy: of `sealed`, a stranger (`authentic` is False) in place of NotAuthentic.

        Raises:
            NotAuthentic: of `sealed`, the prompt is wrong, or the picture was changed beyond repair.

        The rest is as of `hide`.
        """
        identity_prompt = Secret(identity_prompt)
        request = self._core.recover_request(
            stego,
            identity_prompt,
            recipe=recipe,
            decoy=decoy,
            format=format,
            webhook=None,
            idempotency_key=idempotency_key,
        )
        return self._run(self._core.complete("recover", request, self._seconds(timeout), progress))

    def submit_hide(
        self,
        image: PictureSource,
        identity_prompt: str | Secret,
        disguise_prompt: str,
        *,
        scheme: Scheme | None = None,
        channel: Channel | None = None,
        face_size: int | None = None,
        steps: int | None = None,
        format: PictureFormat = "png",
        crop: Crop = "auto",
        webhook: str | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> "JobHandle":
        """Queue a hiding and do not wait. `webhook`: an address that is told of its end. The rest is as of `hide`."""
        identity_prompt = Secret(identity_prompt)
        request = self._core.hide_request(
            image,
            identity_prompt,
            disguise_prompt,
            scheme=scheme,
            channel=channel,
            face_size=face_size,
            steps=steps,
            format=format,
            crop=crop,
            webhook=webhook,
            idempotency_key=idempotency_key,
        )
        return JobHandle(self, self._run(self._core.submit("hide", request, self._seconds(timeout))))

    def submit_recover(
        self,
        stego: PictureSource,
        identity_prompt: str | Secret,
        *,
        recipe: str | None = None,
        decoy: bool = False,
        format: PictureFormat = "png",
        webhook: str | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> "JobHandle":
        """Queue a recovery and do not wait. The arguments are as of `recover` and `submit_hide`."""
        identity_prompt = Secret(identity_prompt)
        request = self._core.recover_request(
            stego,
            identity_prompt,
            recipe=recipe,
            decoy=decoy,
            format=format,
            webhook=webhook,
            idempotency_key=idempotency_key,
        )
        return JobHandle(self, self._run(self._core.submit("recover", request, self._seconds(timeout))))

    def job(self, kind: Kind, job_id: str) -> "JobHandle":
        """A job that was submitted earlier, perhaps by another process with the same key."""
        return JobHandle(self, Started(kind, job_id))

    def jobs(self, kind: Kind, *, states: Sequence[State] = (), timeout: float | None = None) -> Iterator[Job]:
        """The caller's jobs of one service as they are now, newest first, as long as it remembers them: a day.

        Args:
            states: only jobs in one of these.
            timeout: seconds for each page of a hundred; default: the client's.
        """
        return self._iterate(self._core.jobs(kind, states, self._seconds(timeout)))

    def ready(self) -> bool:
        """Whether both services would take a job now. Asks once."""
        return self._run(self._core.ready("hide")) and self._run(self._core.ready("recover"))

    def close(self) -> None:
        """Close the connections; those of an httpx client that was handed in stay open."""
        if self._owned:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, flow: Flow[T]) -> T:
        return _Driver(self._http).run(flow)

    def _iterate(self, flow: Flow[Any]) -> Iterator[Job]:
        return _Driver(self._http).iterate(flow)


class JobHandle(HandleBase):
    """A job of one service. What waits takes a `timeout` in seconds (default: the client's) and does not cancel."""

    def __init__(self, client: Client, started: Started) -> None:
        super().__init__(started)
        self._client = client

    def status(self) -> Job:
        """The job now. Raises JobNotFound."""
        return self._client._run(self._client._core.status(self.kind, self.id, self._client.timeout))

    def wait(self, timeout: float | None = None, *, progress: Progress | None = None) -> Job:
        """The job once it has ended, well or not. Raises WaitTimeout."""
        flow = self._client._core.wait(self.kind, self.id, self._client._seconds(timeout), progress)
        return self._client._run(flow)

    def result(self, timeout: float | None = None, *, progress: Progress | None = None) -> Picture:
        """The picture, once it is there. Raises the problem that the job ended with, or WaitTimeout."""
        flow = self._client._core.result(self._started, self._client._seconds(timeout), progress)
        return self._client._run(flow)

    def cancel(self) -> Job:
        """End the job: a queued one never starts, a running one stops within a step, a done one drops its picture."""
        return self._client._run(self._client._core.cancel(self.kind, self.id, self._client.timeout))

    def events(self, timeout: float | None = None) -> Iterator[Job]:
        """The job now and after every change, its end included; by server-sent events. Raises WaitTimeout."""
        flow = self._client._core.events(self.kind, self.id, self._client._seconds(timeout))
        return self._client._iterate(flow)


class _Driver:
    """Does what one flow commands. An exception in a command goes into the flow, which may clean up."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._stream: httpx.Response | None = None
        self._lines: Iterator[str] | None = None

    def run(self, flow: Flow[T]) -> T:
        try:
            return self._run(flow)
        finally:
            self._close()

    def iterate(self, flow: Flow[Any]) -> Iterator[Job]:
        outcome: object = None
        try:
            while True:
                try:
                    command = flow.send(outcome)
                except StopIteration:
                    return
                outcome = None
                if isinstance(command, Emit):
                    yield command.job
                else:
                    outcome = self._perform(command)
        finally:
            self._close()

    def _run(self, flow: Flow[T]) -> T:
        outcome: object = None
        failure: BaseException | None = None
        while True:
            try:
                command = flow.send(outcome) if failure is None else flow.throw(failure)
            except StopIteration as stop:
                result: T = stop.value
                return result
            failure = None
            try:
                outcome = self._perform(command)
            except BaseException as error:
                failure = error

    def _close(self) -> None:
        if self._stream is not None:
            with shield(True):
                self._stream.close()
            self._stream = None

    def _perform(self, command: Command) -> object:
        match command:
            case Send(request, shielded):
                with shield(shielded):
                    return self._send(request)
            case Open(request):
                return self._open(request)
            case Read():
                return self._read()
            case Sleep(seconds):
                pause(seconds)
                return None
            case Notify(progress, job):
                return tell(progress, job)
        raise TypeError(f"no command of this driver: {type(command).__name__}")

    def _send(self, request: Request) -> Reply | NoReply:
        try:
            response = self._http.send(self._http.build_request(**request.arguments()), follow_redirects=False)
            return reply_of(response, response.content)
        except httpx.RequestError as error:
            return NoReply(type(error).__name__)

    def _open(self, request: Request) -> Reply | NoReply:
        self._close()
        try:
            built = self._http.build_request(**request.arguments())
            response = self._http.send(built, stream=True, follow_redirects=False)
            if response.status_code != 200:
                with closing(response):
                    return reply_of(response, response.read())
        except httpx.RequestError as error:
            return NoReply(type(error).__name__)
        self._stream, self._lines = response, response.iter_lines()
        return reply_of(response)

    def _read(self) -> str | NoReply | None:
        if self._lines is None:
            return None
        try:
            return next(self._lines, None)
        except httpx.RequestError as error:
            return NoReply(type(error).__name__)
