"""The clients. `sync.py` is made from `aio.py` by `make client`: change that one."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from ddsr_client.base import DIRECT, ClientBase, HandleBase, reply_of
from ddsr_client.core import Started
from ddsr_client.models import Channel, Crop, Job, Kind, PictureFormat, Scheme, State
from ddsr_client.pauses import apause, ashield, atell
from ddsr_client.pictures import Picture, PictureSource
from ddsr_client.retry import Retry
from ddsr_client.secret import Secret
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
)

T = TypeVar("T")


class AsyncClient(ClientBase):
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
        http: httpx.AsyncClient | None = None,
    ) -> None:
        super().__init__(sender_url, receiver_url, api_key, receiver_api_key, timeout, retry, insecure_http)
        self._http = http or httpx.AsyncClient(mounts=DIRECT)
        self._owned = http is None

    async def hide(
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
        progress: AsyncProgress | None = None,
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
        return await self._run(self._core.complete("hide", request, self._seconds(timeout), progress))

    async def recover(
        self,
        stego: PictureSource,
        identity_prompt: str | Secret,
        *,
        recipe: str | None = None,
        decoy: bool = False,
        format: PictureFormat = "png",
        progress: AsyncProgress | None = None,
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
        return await self._run(self._core.complete("recover", request, self._seconds(timeout), progress))

    async def submit_hide(
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
    ) -> "AsyncJobHandle":
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
        return AsyncJobHandle(self, await self._run(self._core.submit("hide", request, self._seconds(timeout))))

    async def submit_recover(
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
    ) -> "AsyncJobHandle":
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
        return AsyncJobHandle(self, await self._run(self._core.submit("recover", request, self._seconds(timeout))))

    def job(self, kind: Kind, job_id: str) -> "AsyncJobHandle":
        """A job that was submitted earlier, perhaps by another process with the same key."""
        return AsyncJobHandle(self, Started(kind, job_id))

    def jobs(self, kind: Kind, *, states: Sequence[State] = (), timeout: float | None = None) -> AsyncIterator[Job]:
        """The caller's jobs of one service as they are now, newest first, as long as it remembers them: a day.

        Args:
            states: only jobs in one of these.
            timeout: seconds for each page of a hundred; default: the client's.
        """
        return self._iterate(self._core.jobs(kind, states, self._seconds(timeout)))

    async def ready(self) -> bool:
        """Whether both services would take a job now. Asks once."""
        return await self._run(self._core.ready("hide")) and await self._run(self._core.ready("recover"))

    async def aclose(self) -> None:
        """Close the connections; those of an httpx client that was handed in stay open."""
        if self._owned:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self, flow: Flow[T]) -> T:
        return await _Driver(self._http).run(flow)

    def _iterate(self, flow: Flow[Any]) -> AsyncIterator[Job]:
        return _Driver(self._http).iterate(flow)


class AsyncJobHandle(HandleBase):
    """A job of one service. What waits takes a `timeout` in seconds (default: the client's) and does not cancel."""

    def __init__(self, client: AsyncClient, started: Started) -> None:
        super().__init__(started)
        self._client = client

    async def status(self) -> Job:
        """The job now. Raises JobNotFound."""
        return await self._client._run(self._client._core.status(self.kind, self.id, self._client.timeout))

    async def wait(self, timeout: float | None = None, *, progress: AsyncProgress | None = None) -> Job:
        """The job once it has ended, well or not. Raises WaitTimeout."""
        flow = self._client._core.wait(self.kind, self.id, self._client._seconds(timeout), progress)
        return await self._client._run(flow)

    async def result(self, timeout: float | None = None, *, progress: AsyncProgress | None = None) -> Picture:
        """The picture, once it is there. Raises the problem that the job ended with, or WaitTimeout."""
        flow = self._client._core.result(self._started, self._client._seconds(timeout), progress)
        return await self._client._run(flow)

    async def cancel(self) -> Job:
        """End the job: a queued one never starts, a running one stops within a step, a done one drops its picture."""
        return await self._client._run(self._client._core.cancel(self.kind, self.id, self._client.timeout))

    def events(self, timeout: float | None = None) -> AsyncIterator[Job]:
        """The job now and after every change, its end included; by server-sent events. Raises WaitTimeout."""
        flow = self._client._core.events(self.kind, self.id, self._client._seconds(timeout))
        return self._client._iterate(flow)


class _Driver:
    """Does what one flow commands. An exception in a command goes into the flow, which may clean up."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._stream: httpx.Response | None = None
        self._lines: AsyncIterator[str] | None = None

    async def run(self, flow: Flow[T]) -> T:
        try:
            return await self._run(flow)
        finally:
            await self._close()

    async def iterate(self, flow: Flow[Any]) -> AsyncIterator[Job]:
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
                    outcome = await self._perform(command)
        finally:
            await self._close()

    async def _run(self, flow: Flow[T]) -> T:
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
                outcome = await self._perform(command)
            except BaseException as error:
                failure = error

    async def _close(self) -> None:
        if self._stream is not None:
            with ashield(True):
                await self._stream.aclose()
            self._stream = None

    async def _perform(self, command: Command) -> object:
        match command:
            case Send(request, shielded):
                with ashield(shielded):
                    return await self._send(request)
            case Open(request):
                return await self._open(request)
            case Read():
                return await self._read()
            case Sleep(seconds):
                await apause(seconds)
                return None
            case Notify(progress, job):
                return await atell(progress, job)
        raise TypeError(f"no command of this driver: {type(command).__name__}")

    async def _send(self, request: Request) -> Reply | NoReply:
        try:
            response = await self._http.send(self._http.build_request(**request.arguments()), follow_redirects=False)
            return reply_of(response, response.content)
        except httpx.RequestError as error:
            return NoReply(type(error).__name__)

    async def _open(self, request: Request) -> Reply | NoReply:
        await self._close()
        try:
            built = self._http.build_request(**request.arguments())
            response = await self._http.send(built, stream=True, follow_redirects=False)
            if response.status_code != 200:
                async with aclosing(response):
                    return reply_of(response, await response.aread())
        except httpx.RequestError as error:
            return NoReply(type(error).__name__)
        self._stream, self._lines = response, response.aiter_lines()
        return reply_of(response)

    async def _read(self) -> str | NoReply | None:
        if self._lines is None:
            return None
        try:
            return await anext(self._lines, None)
        except httpx.RequestError as error:
            return NoReply(type(error).__name__)
