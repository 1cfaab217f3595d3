"""A real Redis and a real worker process for all tests of this folder, and apps to talk to."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from services.receiver.app import ReceiverSettings
from services.receiver.app import create_app as create_receiver
from services.sender.app import SenderSettings
from services.sender.app import create_app as create_sender
from shared.jobs import JobStore, open_redis
from shared.settings import QueueSettings
from stack.redis_server import RedisServer
from stack.waiting import wait_until
from tests.pictures import encoded
from tests.worker.arithmetic import ArithmeticModel
from tests.worker.conftest import own_server, shared_server
from tests.worker.support import queue_settings, worker_process

__all__ = ["own_server", "shared_server", "wait_until"]

PROMPT = "the red kite over Ullapool"
DISGUISE = "a photo of an old man pause:0.02"  # seconds that a step lasts: `tests.worker.arithmetic`
BASE = "http://127.0.0.1"
LOCAL = ("127.0.0.1", 50_000)
UNLIMITED = {"rate_limit": "", "poll_limit": ""}  # tests that run within a minute share a caller

Clients = Callable[..., TestClient]


@pytest.fixture(scope="session")
def queue(shared_server: RedisServer) -> QueueSettings:
    """The queue that has a worker."""
    return queue_settings(shared_server)


@pytest.fixture(scope="session")
def worker(shared_server: RedisServer, queue: QueueSettings) -> Iterator[None]:
    with worker_process(shared_server, DDSR_WEBHOOK_ALLOW_PRIVATE="1"), open_redis(queue) as connection:
        wait_until(JobStore(connection, queue).health, lambda health: health.trouble is None)
        yield


@pytest.fixture
def sender(queue: QueueSettings, worker: None) -> Iterator[Clients]:
    """Makes clients of a sender; keyword arguments are settings."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            local_client(create_sender(SenderSettings(**UNLIMITED | settings), queue))
        )


@pytest.fixture
def receiver(queue: QueueSettings, worker: None) -> Iterator[Clients]:
    """Makes clients of a receiver; keyword arguments are settings."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            local_client(create_receiver(ReceiverSettings(**UNLIMITED | settings), queue))
        )


def local_client(app: FastAPI) -> TestClient:
    """A client that seems to sit on this machine; an unforeseen error is an answer, as over a real wire."""
    return TestClient(app, base_url=BASE, client=LOCAL, raise_server_exceptions=False)


def face(size: int = ArithmeticModel.image_size, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture of the model's size."""
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def hide_form(**changes: Any) -> dict[str, Any]:
    """Arguments of `client.post("/hide", ...)`; a field of None is left out."""
    form = {"identity_prompt": PROMPT, "disguise_prompt": DISGUISE, "crop": "none", **changes}
    image = form.pop("image", encoded(face()))
    files = {"image": ("face.png", image)} if image is not None else {"none": (None, b"")}
    return {"data": {name: value for name, value in form.items() if value is not None}, "files": files}
