"""A stack for a measurement, a demonstration or a test: on free ports, in a folder that is thrown away."""

import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from shared.settings import StackSettings
from stack.stack import Stack


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that are free now."""
    holders = [socket.create_server((host, 0)) for _ in range(count)]
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


def free_settings(state: Path, **changes: Any) -> StackSettings:
    """Settings of a stack in `state` on free ports of loopback, without metrics unless `changes` says so."""
    sender, receiver = free_ports(2)
    ports = {"sender_port": sender, "receiver_port": receiver, "metrics_port": 0}
    return StackSettings(**{"state": state, "host": "127.0.0.1", **ports, **changes})


@contextmanager
def temporary_stack(
    log: TextIO, *, worker_module: str = "worker", extra: Mapping[str, str] | None = None, **changes: Any
) -> Iterator[Stack]:
    """A stack that is ready, for the length of a block. `extra`: more environment; `changes`: of its settings.

    Raises StartError.
    """
    with tempfile.TemporaryDirectory(prefix="ddsr-") as folder:  # a short path: unix sockets allow 107 characters
        settings = free_settings(Path(folder) / "state", **changes)
        stack = Stack(settings, log, worker_module=worker_module, extra=extra)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()
