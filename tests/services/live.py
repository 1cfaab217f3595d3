"""A service under a real server, for what a test client cannot show: sockets, chunks, disconnections, uvicorn's log."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from tests.services.conftest import wait_until


@contextmanager
def live(app: FastAPI) -> Iterator[str]:
    """Serve `app` on a free port of loopback; yields its base address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, access_log=False, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, bool)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(timeout=20)
