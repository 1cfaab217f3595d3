"""Webhooks by the Standard Webhooks specification: job id and status only, signed, sent by the worker.

The address is resolved once, every address of the name must be public unless private ones are allowed, and
the connection goes to the address that was checked, so that a name cannot change its mind in between. A
redirect is an answer like any other: it is not followed, and counts as a failure.
"""

import base64
import contextlib
import http.client
import ipaddress
import json
import secrets
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from standardwebhooks.webhooks import Webhook

from shared.envelope import read_secret, write_secret
from shared.errors import InvalidOption

TIMEOUT = 10.0  # seconds for connecting, and for every read
MAX_URL = 2048


class Refused(Exception):
    """The address must not be called, or answered with something else than 2xx. The text names no address."""


class Final(Refused):
    """Another attempt is pointless: a private address, or 410, by which a receiver asks not to be told again."""


def check_url(url: str) -> str:
    """The url when it looks usable: http(s), a host, no user name or fragment. Raises InvalidOption."""
    try:
        parts = urlsplit(url)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        raise InvalidOption("the webhook is not a URL") from None
    good = parts.scheme in ("http", "https") and parts.hostname and port_ok
    if not good or parts.username or parts.password or parts.fragment or len(url) > MAX_URL:
        raise InvalidOption("the webhook must be an http or https URL without a user name or fragment")
    if not url.isascii() or any(char <= " " or char == "\x7f" for char in url):
        raise InvalidOption("the webhook must be ASCII without spaces")
    return url


def load_secret(path: Path) -> str:
    """The signing secret (`whsec_...`), made at first start with mode 0600. Raises KeyFileError."""
    if not path.exists():
        with contextlib.suppress(FileExistsError):  # another worker was first
            write_secret(path, "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
    return read_secret(path)


def deliver(
    url: str, job_id: str, status: str, secret: str, *, allow_private: bool, now: datetime | None = None
) -> None:
    """One attempt. `webhook-id` is the same in every attempt, so that the receiver can drop repetitions.

    Raises:
        Final: a private address, or 410. Refused: an answer other than 2xx.
        OSError, http.client.HTTPException: the connection failed.
    """
    parts = urlsplit(check_url(url))
    moment = now or datetime.now(UTC)
    body = json.dumps(
        {"type": f"job.{status}", "timestamp": moment.isoformat(), "data": {"id": job_id, "status": status}}
    )
    message_id = f"msg_{job_id}"
    headers = {
        "content-type": "application/json",
        "user-agent": "ddsr-webhook/1",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, moment, body),
    }
    connection = _connect(parts, allow_private)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body=body.encode(), headers=headers)
        code = connection.getresponse().status
    finally:
        connection.close()
    if code == 410:
        raise Final("the webhook answered 410")
    if not 200 <= code < 300:
        raise Refused(f"the webhook answered {code}")


def _connect(parts: SplitResult, allow_private: bool) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not allow_private and not all(_public(address) for address in addresses):
        raise Final("the webhook leads to a private address")
    plain = socket.create_connection((addresses[0], port), timeout=TIMEOUT)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    if parts.scheme == "https":
        connection.default_port = 443
        connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    else:
        connection.sock = plain
    return connection


def _public(address: str) -> bool:
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_global and not ip.is_multicast
