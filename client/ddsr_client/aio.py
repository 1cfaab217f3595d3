"""The client for asyncio: what `ddsr_client.sync` has, awaited."""

import inspect
from collections.abc import AsyncIterator
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeVar

import anyio
import httpx

from ddsr_client.base import DIRECT, ClientBase, HandleBase, reply_of
from ddsr_client.core import Started
from ddsr_client.models import Crop, Job, Kind, PictureFormat
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
    """`ddsr_client.Client`, awaited. The arguments are the same; a `progress` may be a coroutine function."""

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
        steps: int | None = None,
        format: PictureFormat = "png",
        crop: Crop = "auto",
        progress: AsyncProgress | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> Picture:
        """As `Client.hide`. Where the task is cancelled, so is the job."""
        identity_prompt = Secret(identity_prompt)  # no traceback shall show a frame that holds the text
        request = self._core.hide_request(
            image, identity_prompt, disguise_prompt, steps=steps, format=format, crop=crop, webhook=None,
            idempotency_key=idempotency_key,
        )  # fmt: skip
        return await self._run(self._core.complete("hide", request, self._seconds(timeout), progress))

    async def recover(
        self,
        stego: PictureSource,
        identity_prompt: str | Secret,
        *,
        recipe: str | None = None,
        format: PictureFormat = "png",
        progress: AsyncProgress | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> Picture:
        """As `Client.recover`. Where the task is cancelled, so is the job."""
        identity_prompt = Secret(identity_prompt)
        request = self._core.recover_request(
            stego, identity_prompt, recipe=recipe, format=format, webhook=None, idempotency_key=idempotency_key
        )
        return await self._run(self._core.complete("recover", request, self._seconds(timeout), progress))

    async def submit_hide(
        self,
        image: PictureSource,
        identity_prompt: str | Secret,
        disguise_prompt: str,
        *,
        steps: int | None = None,
        format: PictureFormat = "png",
        crop: Crop = "auto",
        webhook: str | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> "AsyncJobHandle":
        """As `Client.submit_hide`."""
        identity_prompt = Secret(identity_prompt)  # no traceback shall show a frame that holds the text
        request = self._core.hide_request(
            image, identity_prompt, disguise_prompt, steps=steps, format=format, crop=crop, webhook=webhook,
            idempotency_key=idempotency_key,
        )  # fmt: skip
        return AsyncJobHandle(self, await self._run(self._core.submit("hide", request, self._seconds(timeout))))

    async def submit_recover(
        self,
        stego: PictureSource,
        identity_prompt: str | Secret,
        *,
        recipe: str | None = None,
        format: PictureFormat = "png",
        webhook: str | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> "AsyncJobHandle":
        """As `Client.submit_recover`."""
        identity_prompt = Secret(identity_prompt)
        request = self._core.recover_request(
            stego, identity_prompt, recipe=recipe, format=format, webhook=webhook, idempotency_key=idempotency_key
        )
        return AsyncJobHandle(self, await self._run(self._core.submit("recover", request, self._seconds(timeout))))

    def job(self, kind: Kind, job_id: str) -> "AsyncJobHandle":
        """As `Client.job`."""
        return AsyncJobHandle(self, Started(kind, job_id))

    async def ready(self) -> bool:
        """As `Client.ready`."""
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
        driver = _Driver(self._http)
        try:
            return await driver.run(flow)
        finally:
            await driver.close()

    async def _iterate(self, flow: Flow[Job]) -> AsyncIterator[Job]:
        driver = _Driver(self._http)
        try:
            async for job in driver.iterate(flow):
                yield job
        finally:
            await driver.close()


class AsyncJobHandle(HandleBase):
    """`ddsr_client.JobHandle`, awaited."""

    def __init__(self, client: AsyncClient, started: Started) -> None:
        super().__init__(started)
        self._client = client

    async def status(self) -> Job:
        """As `JobHandle.status`."""
        return await self._client._run(self._client._core.status(self.kind, self.id, self._client.timeout))

    async def wait(self, timeout: float | None = None, *, progress: AsyncProgress | None = None) -> Job:
        """As `JobHandle.wait`."""
        flow = self._client._core.wait(self.kind, self.id, self._client._seconds(timeout), progress)
        return await self._client._run(flow)

    async def result(self, timeout: float | None = None, *, progress: AsyncProgress | None = None) -> Picture:
        """As `JobHandle.result`."""
        flow = self._client._core.result(self._started, self._client._seconds(timeout), progress)
        return await self._client._run(flow)

    async def cancel(self) -> Job:
        """As `JobHandle.cancel`."""
        return await self._client._run(self._client._core.cancel(self.kind, self.id, self._client.timeout))

    def events(self, timeout: float | None = None) -> AsyncIterator[Job]:
        """As `JobHandle.events`, for `async for`."""
        flow = self._client._core.events(self.kind, self.id, self._client._seconds(timeout))
        return self._client._iterate(flow)


class _Driver:
    """Does what one flow commands. An exception in a command goes into the flow, which may clean up."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._stream: httpx.Response | None = None
        self._lines: AsyncIterator[str] | None = None

    async def run(self, flow: Flow[T]) -> T:
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

    async def iterate(self, flow: Flow[Job]) -> AsyncIterator[Job]:
        outcome: object = None
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

    async def close(self) -> None:
        if self._stream is not None:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            self._stream = None

    async def _perform(self, command: Command) -> object:
        match command:
            case Send(request, shielded):
                with anyio.CancelScope(shield=shielded):
                    return await self._send(request)
            case Open(request):
                return await self._open(request)
            case Read():
                return await self._read()
            case Sleep(seconds):
                await anyio.sleep(seconds)
                return None
            case Notify(progress, job):
                found = progress(job)
                return await found if inspect.isawaitable(found) else found
        raise TypeError(f"no command of this driver: {type(command).__name__}")

    async def _send(self, request: Request) -> Reply | NoReply:
        try:
            response = await self._http.send(self._http.build_request(**request.arguments()), follow_redirects=False)
            return reply_of(response, response.content)
        except httpx.RequestError as error:
            return NoReply(type(error).__name__)

    async def _open(self, request: Request) -> Reply | NoReply:
        await self.close()
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
