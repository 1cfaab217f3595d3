"""Keys and addresses of the services: from the environment, or from a file that a variable ending in `_FILE` names.

The names are those of the vendors' own tools where these have some. None is an argument of a command: arguments are
seen by everybody on a machine and kept by shells.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from evaluation.errors import ServiceRefused


@dataclass(frozen=True)
class KeyPair:
    """An account's key: its public id, and its secret."""

    id: str
    secret: SecretStr


def secret_of(variables: Mapping[str, str], name: str) -> SecretStr:
    """The variable `name`, or the content of the file that `NAME_FILE` names, without white space around it.

    Raises:
        ServiceRefused: neither is set, both are, or the file cannot be read; no value is quoted.
    """
    value, path = variables.get(name, ""), variables.get(f"{name}_FILE", "")
    if bool(value) == bool(path):
        raise ServiceRefused(f"set {name} or {name}_FILE, and not both")
    if path:
        try:
            value = Path(path).read_text(encoding="ascii").strip()
        except (OSError, UnicodeError):
            raise ServiceRefused(f"the file of {name}_FILE cannot be read") from None
    return SecretStr(value)


def key_pair(variables: Mapping[str, str], public: str, secret: str) -> KeyPair:
    """Both halves of a key, as `secret_of` finds them."""
    return KeyPair(secret_of(variables, public).get_secret_value(), secret_of(variables, secret))


def address_of(variables: Mapping[str, str], name: str, default: str = "") -> httpx.URL:
    """The address in the variable `name`, without a slash at its end.

    Raises:
        ServiceRefused: it is not set and there is no default, or faces would go to another machine unencrypted.
    """
    text = variables.get(name, "") or default
    if not text:
        raise ServiceRefused(f"set {name} to the service's address")
    try:
        url = httpx.URL(text.rstrip("/"))
    except httpx.InvalidURL:
        raise ServiceRefused(f"{name} is no address") from None
    if url.userinfo or url.query or not url.host:
        raise ServiceRefused(f"{name} must be an address without user, password and query")
    if url.scheme != "https" and not (url.scheme == "http" and _is_here(url.host)):
        raise ServiceRefused(f"{name} must start with https://, for faces go there; http:// serves this machine alone")
    return url


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
