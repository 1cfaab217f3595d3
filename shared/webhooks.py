"""Addresses that a webhook may have, and the secret that signs its messages. `worker.delivery` sends them."""

import base64
import contextlib
import ipaddress
import secrets
import socket
from pathlib import Path
from urllib.parse import urlsplit

from shared.envelope import read_secret, write_secret
from shared.errors import InvalidOption

MAX_URL = 2048
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_DETOURS = tuple(
    ipaddress.IPv6Network(text)
    for text in ("::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")  # IPv4-compatible, local NAT64, Teredo, 6to4
)


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
    if own or ((address := _literal(host)) is not None and not is_public(address)):
        raise InvalidOption("the webhook leads to a private address, which no worker here calls")


def _literal(host: str) -> str | None:
    """The address that a host is, in any spelling that a resolver takes for one (`127.1`, `0x7f000001`)."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host.split("%")[0]))
    with contextlib.suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(host))
    return None


def load_secret(path: Path) -> str:
    """The signing secret (`whsec_...`), made at first start with mode 0400. Raises KeyFileError."""
    if not path.exists():
        with contextlib.suppress(FileExistsError):  # another worker was first
            write_secret(path, "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
    return read_secret(path)


def is_public(address: str) -> bool:
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
