"""One Redis for a test session of this folder, emptied for every test."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.redis_server import RedisServer


@pytest.fixture(scope="session")
def shared_server() -> Iterator[RedisServer]:
    folder = Path(tempfile.mkdtemp(prefix="ddsr-"))  # a short path: unix sockets allow 107 characters
    server = RedisServer(folder)
    server.start()
    yield server
    denied = server.denied()
    server.stop(kill=True)
    shutil.rmtree(folder, ignore_errors=True)
    assert not denied, "services and workers may do all that they try"


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    client = shared_server.client()
    client.flushall()
    client.close()
    return shared_server


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """For tests that kill Redis."""
    folder = Path(tempfile.mkdtemp(prefix="ddsr-"))
    server = RedisServer(folder)
    server.start()
    yield server
    server.stop(kill=True)
    shutil.rmtree(folder, ignore_errors=True)
