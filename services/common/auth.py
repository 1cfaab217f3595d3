"""What a request must show before its body is read: a key, patience, a media type."""

import ipaddress
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.routing import APIRoute

from services.common.context import Context, context_of
from services.common.forms import FormRequest, read_form
from services.common.problems import TooBusy, Unauthenticated, UnsupportedMediaType

LOCAL_OWNER = "local"
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class UploadSlot:
    """One of the `max_uploads` bodies in memory; given back once the job is queued, before the waiting."""

    def __init__(self, context: Context, owner: str) -> None:
        self._uploads = context.uploads
        self._owner = owner
        self._held = True
        self._uploads[owner] += 1

    def release(self) -> None:
        """Give the slot back; a second call does nothing."""
        if self._held:
            self._held = False
            self._uploads[self._owner] -= 1


class AuthenticatedRoute(APIRoute):
    """A route that identifies the caller before the form is read: a stranger cannot make us take an upload."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def authenticated(request: Request) -> Response:
            context = context_of(request)
            owner = request.state.owner = identify(request, context)
            upload = request.method == "POST"
            await context.run_redis(context.limits.check, "submit" if upload else "poll", owner)
            return await (_upload(request, context, handle) if upload else handle(request))

        return authenticated


class MetricsRoute(APIRoute):
    """A route that asks for a key where keys are set, a scraper's or a caller's, unless the metrics are open."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def authenticated(request: Request) -> Response:
            context = context_of(request)
            if not (context.settings.metrics_open or context.keys.scraper(_presented(request))):
                request.state.owner = identify(request, context)
            return await handle(request)

        return authenticated


def identify(request: Request, context: Context) -> str:
    """Name of the caller's key; `LOCAL_OWNER` where no keys are set and the caller sits on this machine.

    Raises:
        Unauthenticated: no key, a wrong one, or a caller from elsewhere where no keys are set.
    """
    if not context.keys:
        if not (is_loopback(_client(request)) and is_loopback(_asked_host(request))):
            raise Unauthenticated("without API keys, only this machine is served")
        if not _own_page(request, context):
            raise Unauthenticated("without API keys, pages of other origins are not served")
        return LOCAL_OWNER
    owner = context.keys.owner(_presented(request))
    if owner is None:
        raise Unauthenticated("send a valid key as `X-API-Key` or as a Bearer token")
    return owner


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _client(request: Request) -> str:
    return request.client.host if request.client else ""


def _asked_host(request: Request) -> str:
    """Host of the `Host` header: a page whose name was rebound to 127.0.0.1 gives itself away here."""
    try:
        return urlsplit("//" + request.headers.get("host", "")).hostname or ""
    except ValueError:
        return ""


def _own_page(request: Request, context: Context) -> bool:
    """Whether no page sent the request, or one of this machine or of `allow_origins`.

    A form of any page on the web reaches a loopback address, and nothing but this header tells it from a local program.
    """
    origin = request.headers.get("origin")
    if origin is None or origin in context.settings.allow_origins:
        return True
    try:
        return is_loopback(urlsplit(origin).hostname or "")
    except ValueError:
        return False


def _presented(request: Request) -> str:
    header = request.headers.get("x-api-key")
    if header is not None:
        return header
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _upload(request: Request, context: Context, handle: Handler) -> Response:
    _check_media_type(request)
    owner, most = request.state.owner, context.settings.max_uploads
    if context.uploads.total() >= most:
        raise TooBusy("as many uploads as this process holds at a time are open; try again soon")
    if len({name for name, _ in context.keys.entries}) > 1 and context.uploads[owner] >= -(-most // 2):
        raise TooBusy("as many uploads as this process holds of one key at a time are open; try again soon")
    slot = request.state.slot = UploadSlot(context, owner)
    try:
        longest = context.settings.max_field_bytes
        form = await read_form(request, context.fields, context.files, longest)
        return await handle(FormRequest(request, form))
    finally:
        slot.release()


def _check_media_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise UnsupportedMediaType("the body is no multipart/form-data; send it as one, as `curl -F` does")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("the body has a content encoding; send it without")
