"""Early refusals reach clients that write their whole body before they read: Python's urllib does."""

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message

import anyio
import pytest
from starlette.types import Message as Event
from starlette.types import Receive, Scope, Send

from services.common.keys import new_key
from services.common.middleware import Linger
from services.sender.app import SenderSettings, create_app
from shared.settings import QueueSettings
from tests.services.live import live

FORM = "multipart/form-data; boundary=B"
HUGE = 20 * 10**6
START = b'--B\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
KEY, LINE = new_key("alice")


@pytest.fixture(scope="module")
def address(queue: QueueSettings) -> Iterator[str]:
    settings = SenderSettings(rate_limit="", poll_limit="", api_keys=(LINE,))
    with live(create_app(settings, queue)) as address:
        yield address


@pytest.mark.parametrize(
    ("path", "media", "key", "status"),
    [
        ("/hide", FORM, KEY, 413),
        ("/hide", "application/json", KEY, 415),
        ("/hide", FORM, "wrong", 401),
        ("/nothing", FORM, KEY, 404),
        ("/livez", FORM, KEY, 405),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_an_answer_reaches_who_is_still_sending(
    address: str, path: str, media: str, key: str, status: int, whole: bool
) -> None:
    headers = {"Content-Type": media, "X-API-Key": key}
    assert post(address + path, headers, whole) == status


def post(url: str, headers: dict[str, str], whole: bool) -> int:
    """20 MB by urllib, with a length or in chunks."""
    data = START + bytes(HUGE) if whole else iter([START, *[bytes(10**6)] * (HUGE // 10**6)])
    try:
        urllib.request.urlopen(urllib.request.Request(url, data, headers, method="POST"), timeout=60)
    except urllib.error.HTTPError as error:
        found: Message = error.headers
        assert found["Content-Type"] == "application/problem+json"
        error.close()
        return error.code
    raise AssertionError("a refusal was expected")


def test_who_waits_for_our_word_is_answered_at_once(address: str) -> None:
    port = int(address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        head = f"POST /hide HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {HUGE}\r\n"
        start = time.monotonic()
        line.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        answer = b""
        while part := line.recv(65536):
            answer += part
        assert b" 401 " in answer.split(b"\r\n", 1)[0]
        assert b"connection: close" in answer.lower()
        assert time.monotonic() - start < 4


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 401, "headers": []})
    await send({"type": "http.response.body", "body": b"no"})


@pytest.mark.parametrize(
    ("bounds", "pause"), [({"max_bytes": 5000}, 0.0), ({"seconds": 0.2}, 0.01), ({"silence": 0.1}, 9)]
)
def test_reading_on_has_bounds(bounds: dict[str, float], pause: float) -> None:
    """Of a body without an end, in bytes, in seconds, and in seconds without a byte."""
    sent: list[Event] = []
    read = 0

    async def receive() -> Event:
        nonlocal read
        await anyio.sleep(pause)
        read += 1000
        return {"type": "http.request", "body": bytes(1000), "more_body": True}

    async def send(message: Event) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": [(b"transfer-encoding", b"chunked")]}

    async def run() -> None:
        with anyio.fail_after(5):
            await Linger(refuse, **bounds)(scope, receive, send)  # type: ignore[arg-type]

    anyio.run(run)
    assert [message.get("more_body") for message in sent] == [None, True, False]
    assert (b"connection", b"close") in sent[0]["headers"]
    assert sent[1]["body"] == b"no"
    assert read <= 100_000
