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
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from standardwebhooks.webhooks import Webhook

from shared.envelope import read_secret, write_secret
from shared.errors import InvalidOption

DEADLINE = 15.0  # seconds for one attempt, from the name's lookup to the answer's headers
MAX_URL = 2048
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_DETOURS = tuple(
    ipaddress.IPv6Network(text)
    for text in ("::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")  # IPv4-compatible, local NAT64, Teredo, 6to4
)


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


def check_public(url: str) -> None:
    """Refuse what no worker will ever call: a private address, as such or as a name of this machine.

    Any other name is resolved when it is called, and may be refused then. Raises InvalidOption.
    """
    host = (urlsplit(check_url(url)).hostname or "").rstrip(".")
    own = host == "localhost" or host.endswith(".localhost")
    if own or ((address := _literal(host)) is not None and not _public(address)):
        raise InvalidOption("the webhook leads to a private address, which no worker here calls")


def _literal(host: str) -> str | None:
    """The address that a host is, in any spelling that a resolver takes for one (`127.1`, `0x7f000001`)."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host.split("%")[0]))
    with contextlib.suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(host))
    return None


def load_secret(path: Path) -> str:
    """The signing secret (`whsec_...`), made at first start with mode 0600. Raises KeyFileError."""
    if not path.exists():
        with contextlib.suppress(FileExistsError):  # another worker was first
            write_secret(path, "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
    return read_secret(path)


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
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with _Fuse(seconds) as fuse:
        connection = _connect(parts, allow_private, fuse)
        try:
            connection.request("POST", target, body=body.encode(), headers=headers)
            code = connection.getresponse().status
        finally:
            connection.close()
    if code == 410:
        raise Final("the webhook answered 410")
    if not 200 <= code < 300:
        raise Refused(f"the webhook answered {code}")


class _Fuse:
    """Cuts a socket off at a deadline: its own timeout begins anew with every byte that the other side dribbles.

    Raises:
        TimeoutError: at the end of the block, in place of its own end or error, when that came too late.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._blow)
        self._timer.daemon = True

    def __enter__(self) -> "_Fuse":
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        with self._lock:
            self._timer.cancel()
            self._socket = None
        if self.left <= 0 and not isinstance(error, Refused):
            raise TimeoutError from None

    @property
    def left(self) -> float:
        return self._end - time.monotonic()

    def guard(self, plain: socket.socket) -> None:
        """Watch this socket. Raises TimeoutError when it comes too late."""
        with self._lock:
            if self.left <= 0:
                raise TimeoutError
            self._socket = plain

    def _blow(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._socket is not None:
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # SSLSocket's own would pull TLS away


def _connect(parts: SplitResult, allow_private: bool, fuse: _Fuse) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not allow_private and not all(_public(address) for address in addresses):
        raise Final("the webhook leads to a private address")
    if fuse.left <= 0:
        raise TimeoutError
    connection = http.client.HTTPConnection(host, port)
    connection.sock = socket.create_connection((addresses[0], port), timeout=fuse.left)
    try:
        if parts.scheme == "https":
            connection.default_port = 443
            context = ssl.create_default_context()
            tls = context.wrap_socket(connection.sock, server_hostname=host, do_handshake_on_connect=False)
            connection.sock = tls
            fuse.guard(tls)
            tls.do_handshake()
        else:
            fuse.guard(connection.sock)
    except BaseException:
        connection.close()
        raise
    return connection


def _public(address: str) -> bool:
    """Whether an address leads out to the world, and to no IPv4 address inside by a detour."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if any(ip in network for network in _DETOURS) or ip.is_site_local:
            return False
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:  # how networks without IPv4 reach all of it
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.is_global and not ip.is_multicast
