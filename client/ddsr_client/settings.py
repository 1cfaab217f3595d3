"""Where the services are, and with which key: arguments first, then the environment, then this machine."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ddsr_client.errors import ConfigurationError
from ddsr_client.models import Kind
from ddsr_client.secret import Secret

SENDER, RECEIVER = "http://127.0.0.1:8001", "http://127.0.0.1:8002"


@dataclass(frozen=True)
class Service:
    """One service: its address without a slash at the end, and the key for it."""

    url: str
    key: Secret | None = None


@dataclass(frozen=True)
class Settings:
    """Both services."""

    sender: Service
    receiver: Service

    def of(self, kind: Kind) -> Service:
        """The service that has the jobs of a kind."""
        return self.sender if kind == "hide" else self.receiver


def make_settings(
    sender_url: str | None,
    receiver_url: str | None,
    api_key: str | Secret | None,
    receiver_api_key: str | Secret | None,
    insecure_http: bool,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Fill in what was not given from `DDSR_SENDER_URL`, `DDSR_RECEIVER_URL`, `DDSR_API_KEY_FILE`, `DDSR_API_KEY`.

    Raises:
        ConfigurationError: an address that is no plain http(s) one, or http to another machine without `insecure_http`.
    """
    variables = os.environ if environment is None else environment
    key = _key(api_key, variables)
    other = key if receiver_api_key is None else Secret(receiver_api_key)
    sender = sender_url or variables.get("DDSR_SENDER_URL") or SENDER
    receiver = receiver_url or variables.get("DDSR_RECEIVER_URL") or RECEIVER
    return Settings(
        Service(_checked(sender, insecure_http), key),
        Service(_checked(receiver, insecure_http), other),
    )


def _key(given: str | Secret | None, variables: Mapping[str, str]) -> Secret | None:
    if given is not None:
        return Secret(given)
    if path := variables.get("DDSR_API_KEY_FILE"):
        try:
            return Secret.from_file(path)
        except (OSError, UnicodeError):
            raise ConfigurationError("the file of DDSR_API_KEY_FILE cannot be read") from None
    return Secret(variables["DDSR_API_KEY"]) if variables.get("DDSR_API_KEY") else None


def _checked(url: str, insecure_http: bool) -> str:
    """The errors do not quote the address: it may hold a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError("a service's address cannot be read") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError("a service's address starts with http:// or https:// and names a host")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("a service's address holds no user or password (it would be logged); use api_key")
    if parts.query or parts.fragment:
        raise ConfigurationError("a service's address has no query and no fragment")
    if parts.scheme == "http" and not insecure_http and not _is_loopback(host):
        raise ConfigurationError("http would carry the identity prompt in the clear; use https, or insecure_http=True")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
