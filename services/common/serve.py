"""Start one service under uvicorn."""

import sys
from collections.abc import Callable
from typing import TypeVar

import uvicorn
from fastapi import FastAPI

from services.common.guard import is_loopback
from services.common.keys import load_keys
from services.common.logs import configure_libraries
from services.common.memory import give_back_large_blocks
from services.common.settings import ServiceSettings
from shared.errors import KeyFileError
from shared.process import no_core_dumps

Settings = TypeVar("Settings", bound=ServiceSettings)
GRACE = 10  # seconds that open requests get after SIGTERM
KEEP_ALIVE = 75  # of an idle connection: a client that uses it in the moment it is closed gets no answer at all


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
    except (ValueError, OSError, KeyFileError) as error:
        reason, app = str(error), None
    if app is None:
        sys.stderr.write(f"refusing to start: {reason}\n")
        return 2
    configure_libraries(app.title)
    give_back_large_blocks()
    uvicorn.run(
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
    return 0
