"""Start one service under uvicorn, and end it within its grace period."""

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import uvicorn
from fastapi import FastAPI

from services.common.auth import is_loopback
from services.common.keys import load_keys
from services.common.memory import give_back_large_blocks
from services.common.settings import ServiceSettings
from shared import tracing
from shared.errors import KeyFileError
from shared.logs import configure_libraries
from shared.process import end_with_zero, no_core_dumps

Settings = TypeVar("Settings", bound=ServiceSettings)
GRACE = 10  # seconds that open requests get after SIGTERM
LAST = 5.0  # seconds that threads get after that which still ask a Redis that does not answer
KEEP_ALIVE = 75  # of an idle connection: a client that uses it in the moment it is closed gets no answer at all


class Server(uvicorn.Server):
    """Ends with 0 when SIGTERM asked for it, however long Redis keeps its threads waiting."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Everything is in order afterwards: requests answered or cancelled, the application closed. The interpreter
        would yet wait for every thread that asks Redis, for which nobody waits any more."""
        await super().shutdown(sockets)
        await asyncio.to_thread(tracing.stop)
        last = threading.Timer(LAST, os._exit, (0,))
        last.daemon = True
        last.start()


def refusal(settings: ServiceSettings) -> str | None:
    """Why the service must not start, or None. Nobody outside this machine is served without keys."""
    if not load_keys(settings) and not is_loopback(settings.host):
        return f"set DDSR_API_KEYS or DDSR_API_KEYS_FILE to listen on {settings.host}"
    return None


def serve(read: Callable[[], Settings], create: Callable[[Settings], FastAPI]) -> int:
    """Run until a signal. The access log is ours (uvicorn's prints query strings), and so is every answer."""
    no_core_dumps()
    try:
        settings = read()
        reason = refusal(settings)
        app = None if reason else create(settings)
        if app is not None:
            tracing.start(app.title.lower().replace(" ", "-"))
    except (ValueError, OSError, KeyFileError) as error:
        reason, app = str(error), None
    if app is None:
        sys.stderr.write(f"refusing to start: {reason}\n")
        return 2
    configure_libraries(app.title)
    give_back_large_blocks()
    end_with_zero()
    config = uvicorn.Config(
        app,
        log_config=None,
        host=settings.host,
        port=settings.port,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=KEEP_ALIVE,
    )
    server = Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else 3
