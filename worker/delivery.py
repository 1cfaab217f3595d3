"""One attempt to tell a webhook, by the Standard Webhooks specification: job id and status only, signed.

The name is resolved once, every address of it must be public unless private ones are allowed, and the connection goes
to the address that was checked, so that a name cannot change its mind in between. A redirect is an answer like any
other: it is not followed, and counts as a failure.
"""

import json
import socket
import ssl
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpcore
from standardwebhooks.webhooks import Webhook

from shared.webhooks import check_url, is_public

DEADLINE = 15.0  # seconds for one attempt, from the name's lookup to the answer's headers


class Refused(Exception):
    """The address must not be called, or answered with something else than 2xx. The text names no address."""


class Final(Refused):
    """Another attempt is pointless: a private address, or 410, by which a receiver asks not to be told again."""


def deliver(
    url: str,
    job_id: str,
    status: str,
    secret: str,
    *,
    allow_private: bool,
    now: datetime | None = None,
    seconds: float = DEADLINE,
) -> None:
    """One attempt. `webhook-id` is the same in every attempt, so that the receiver can drop repetitions.

    Raises:
        Final: a private address, or 410. Refused: an answer other than 2xx.
        TimeoutError: no whole answer within `seconds`. Only the lookup of a name takes as long as the system lets it.
        OSError, httpcore.NetworkError, httpcore.ProtocolError: the connection failed.
    """
    moment = now or datetime.now(UTC)
    body = json.dumps(
        {"type": f"job.{status}", "timestamp": moment.isoformat(), "data": {"id": job_id, "status": status}}
    )
    message_id = f"msg_{job_id}"
    headers = {
        "host": urlsplit(check_url(url)).netloc,
        "content-type": "application/json",
        "content-length": str(len(body)),
        "user-agent": "ddsr-webhook/1",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, moment, body),
    }
    context = ssl.create_default_context()  # reads files: before the clock starts
    deadline = _Deadline(seconds)
    network = _CheckedNetwork(deadline, allow_private)
    try:
        with (
            httpcore.ConnectionPool(context, network_backend=network) as pool,
            pool.stream("POST", url, headers=list(headers.items()), content=body.encode()) as answer,
        ):
            code = answer.status
    except httpcore.TimeoutException:
        raise TimeoutError from None
    deadline.left()
    if code == 410:
        raise Final("the webhook answered 410")
    if not 200 <= code < 300:
        raise Refused(f"the webhook answered {code}")


class _Deadline:
    """The end of an attempt: a timeout of a socket begins anew with every byte that the other side dribbles."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then, more than 0. Raises TimeoutError."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _CheckedNetwork(httpcore.NetworkBackend):
    """Connects to an address that was checked; nothing lasts beyond the deadline."""

    def __init__(self, deadline: _Deadline, allow_private: bool) -> None:
        self._deadline = deadline
        self._allow_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise Final("the webhook leads to a private address")
        stream = httpcore.SyncBackend().connect_tcp(addresses[0], port, self._deadline.left())
        return _TimedStream(stream, self._deadline)


class _TimedStream(httpcore.NetworkStream):
    """A stream whose every operation has what is left until the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left())
        return _TimedStream(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
