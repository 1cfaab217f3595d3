"""Settings, processes and requests for tests of the queue. Real Redis, real worker processes."""

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import SecretStr

from shared.envelope import Keyring
from shared.jobs import HideRequest, JobStore, JobView, Picture, RecoverRequest, open_redis
from shared.jobs import scripts as records
from shared.jobs.model import WorkerInfo
from shared.recipe import Recipe
from shared.settings import QueueSettings, WorkerSettings
from stack.redis_server import RedisServer
from stack.waiting import wait_until
from tests.pictures import pixels

ROOT = Path(__file__).resolve().parents[2]
OWNER = "alice"


def queue_settings(server: RedisServer, **changes: Any) -> QueueSettings:
    return QueueSettings(
        redis_url=SecretStr(server.service_url), service_keys=server.folder / "keys" / "service", **changes
    )


def worker_settings(server: RedisServer, **changes: Any) -> WorkerSettings:
    keys = server.folder / "keys"
    defaults: dict[str, Any] = {
        "worker_keys": keys / "worker",
        "webhook_secret_file": keys / "webhook.secret",
        "metrics_port": 0,
    }
    return WorkerSettings(**{**defaults, **changes})


def make_store(server: RedisServer, **changes: Any) -> JobStore:
    settings = queue_settings(server, **changes)
    return JobStore(open_redis(settings), settings)


def announce(server: RedisServer, name: str = "w1", keys: Keyring | None = None, **more: Any) -> Keyring:
    """A worker that is only announced, so that jobs can be submitted without being computed."""
    keys = keys or Keyring.load_or_create(server.folder / "keys" / "worker")
    info = WorkerInfo(name, keys.current.public.to_text(), "a" * 16, 32, **{"private_webhooks": True, **more})
    client = server.client()
    client.sadd(records.WORKERS, name)
    client.set(records.worker_key(name), json.dumps(info.__dict__))
    client.close()
    return keys


def face(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def hide_request(disguise: str = "a cat", *, prompt: str = "the prompt", seed: int = 0, **changes: Any) -> HideRequest:
    return HideRequest(Picture.from_array(face(seed)), SecretStr(prompt), disguise, **changes)


def recover_request(picture: bytes, recipe: str | None, *, prompt: str = "the prompt") -> RecoverRequest:
    return RecoverRequest(Picture.from_array(pixels(picture)), SecretStr(prompt), Recipe.from_text(recipe or ""))


@contextmanager
def worker_process(
    server: RedisServer, *, module: str = "tests.worker.arithmetic", log: Path | None = None, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker in its own process; killed at the end if it still runs."""
    keys = server.folder / "keys"
    environment = {
        **os.environ,
        "REDIS_URL": server.worker_url,
        "DDSR_WORKER_KEYS": str(keys / "worker"),
        "DDSR_WEBHOOK_SECRET_FILE": str(keys / "webhook.secret"),
        "DDSR_METRICS_PORT": "0",
        "DDSR_HEARTBEAT_INTERVAL": "0.3",
        "DDSR_HEARTBEAT_TTL": "2",
        "DDSR_MAINTENANCE_INTERVAL": "1",
        "DDSR_STUCK_AFTER": "2",
        **variables,
    }
    with open(log or server.folder / f"worker-{secrets.token_hex(3)}.log", "ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", module], cwd=ROOT, env=environment, stderr=stream, stdout=stream
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(10)


def ended(store: JobStore, job_id: str, seconds: float = 120.0, *, owner: str = OWNER) -> JobView:
    """The job once it has ended."""
    until(lambda: store.view(job_id, owner=owner).terminal, seconds)
    return store.view(job_id, owner=owner)


def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait for something to become true; the limit is far above what it takes."""
    wait_until(condition, bool, seconds)


def tripwire(*arguments: object) -> None:
    """Must never run: it leaves a file behind."""
    first = arguments[0]
    (Path(first) if isinstance(first, str) else ROOT / "tripped").touch()
