"""The processes of a stack. All keys lie in `state`/keys, Redis' files in `state`/redis."""

import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """One process. `ready` is asked with its process id; it may raise OSError while nothing answers yet.

    `patience` is how many seconds it gets to end by itself after SIGTERM.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Callable[[int], bool]
    patience: float = 10.0


def service_part(name: str, state: Path, host: str, port: int, environment: Mapping[str, str]) -> Part:
    """`name`: sender or receiver. What `environment` says of keys and address is replaced."""
    own = {
        "DDSR_SERVICE_KEYS": str(state / "keys" / name),
        "DDSR_HOST": host,
        f"DDSR_{name.upper()}_PORT": str(port),
    }
    url = f"{address(host, port)}/readyz"
    command = [sys.executable, "-m", f"services.{name}"]
    return Part(name, command, {**environment, **own}, lambda pid: is_ok(url), patience=20)


def worker_part(
    name: str, module: str, state: Path, environment: Mapping[str, str], ready: Callable[[int], bool]
) -> Part:
    """`module` is run as a program. What `environment` says of keys is replaced."""
    own = {
        "DDSR_WORKER_KEYS": str(state / "keys" / "worker"),
        "DDSR_WEBHOOK_SECRET_FILE": str(state / "keys" / "webhook.secret"),
    }
    return Part(name, [sys.executable, "-m", module], {**environment, **own}, ready, patience=90)


def address(host: str, port: int) -> str:
    """Where a service that listens on `host` is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_ok(url: str, seconds: float = 2) -> bool:
    """Whether 200 is answered. Raises OSError where nobody answers: HTTPError for an error's status."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever HTTP_PROXY says
    with direct.open(url, timeout=seconds) as answer:
        return bool(answer.status == 200)
