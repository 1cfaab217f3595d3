"""The real thing for fuzzing: Valkey, the real worker with a tiny diffusion model, both services with API keys.

`DDSR_FUZZ_EXAMPLES` is the number of examples of an operation, and twenty times as many of a property that needs no
request; the short form that CI runs has few and a fixed seed, `make fuzz` many and another seed every time.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings

from services.common.keys import new_key
from services.receiver.app import ReceiverSettings
from services.receiver.app import create_app as create_receiver
from services.sender.app import SenderSettings
from services.sender.app import create_app as create_sender
from shared.jobs import JobStore, open_redis
from shared.settings import QueueSettings
from stack.redis_server import RedisServer
from tests.pictures import encoded
from tests.services.conftest import face
from tests.services.live import live
from tests.worker.conftest import shared_server
from tests.worker.support import queue_settings, until, worker_process

__all__ = ["shared_server"]

EXAMPLES = int(os.environ.get("DDSR_FUZZ_EXAMPLES", "0"))
LONG = EXAMPLES > 0
OWNER = "fuzzer"
BOUNDED = settings(
    max_examples=20 * EXAMPLES or 60,
    derandomize=not LONG,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Fleet:
    """Addresses of the running services, the key that they ask for, the queue behind them, and a real hiding."""

    sender: str
    receiver: str
    key: str
    queue: QueueSettings
    server: RedisServer
    stego: bytes
    recipe: str


@pytest.fixture(scope="session")
def fleet(shared_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    from shared.diffusion.tiny import build_tiny

    model = build_tiny(tmp_path_factory.mktemp("model") / "tiny")
    queue = queue_settings(shared_server, queue_limit=10_000)
    key, line = new_key(OWNER)
    options = {"api_keys": (line,), "rate_limit": "", "poll_limit": "", "default_wait": 0}
    options |= {"max_wait": 0.3, "stream_seconds": 0.3}  # schemathesis waits for every answer
    with ExitStack() as stack:
        process = stack.enter_context(worker_process(shared_server, module="worker", DDSR_MODEL=str(model)))
        store = JobStore(stack.enter_context(open_redis(queue)), queue)
        until(lambda: store.health().trouble is None or process.poll() is not None, seconds=240)
        sender = stack.enter_context(live(create_sender(SenderSettings(**options), queue)))
        receiver = stack.enter_context(live(create_receiver(ReceiverSettings(**options), queue)))
        stego, recipe = _hiding(sender, key)
        yield Fleet(sender, receiver, key, queue, shared_server, stego, recipe)


def _hiding(sender: str, key: str) -> tuple[bytes, str]:
    headers = {"X-API-Key": key}
    data = {"identity_prompt": "blue door", "disguise_prompt": "a cat", "steps": 1}
    with httpx.Client(base_url=sender, headers=headers, timeout=60) as client:
        accepted = client.post("/hide", data=data, files={"image": encoded(face(32))}, headers={"Prefer": "wait=2"})
        assert accepted.status_code in (200, 202), accepted.text
        address = f"/jobs/{accepted.headers['DDSR-Job']}"
        until(lambda: client.get(address, params={"wait": 2}).json()["state"] == "done")
        result = client.get(f"{address}/result")
    assert result.status_code == 200, result.text
    return result.content, result.headers["DDSR-Recipe"]


@pytest.fixture
def folder(fleet: Fleet, tmp_path: Path) -> Path:
    """What the hooks read and write."""
    (tmp_path / "stego.png").write_bytes(fleet.stego)
    (tmp_path / "recipe.txt").write_text(fleet.recipe)
    return tmp_path
