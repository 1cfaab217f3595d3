"""The stack under measurement: started in a folder that is thrown away, its processes' CPU time and memory."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures import memory
from stack.stack import Stack
from stack.temporary import temporary_stack


@dataclass
class Measured:
    """A running stack, and the seconds that it took to get ready."""

    stack: Stack
    ready_seconds: float

    def pids(self) -> dict[str, int]:
        return self.stack.supervisor.pids()

    def resident(self) -> dict[str, float]:
        """MiB of each process."""
        return {name: memory.resident(pid) for name, pid in self.pids().items()}

    def cpu(self) -> dict[str, float]:
        """Seconds that each process has used."""
        return {name: memory.cpu_seconds(pid) for name, pid in self.pids().items()}

    def redis(self) -> dict[str, Any]:
        """Redis' own counters: memory, commands, bytes over its sockets."""
        client: Any = self.stack.redis()
        try:
            info = client.info("everything")
        finally:
            client.close()
        names = ("used_memory", "total_commands_processed", "total_net_input_bytes", "total_net_output_bytes")
        return {name: int(info[name]) for name in names}


@contextmanager
def running(
    *,
    workers: int = 1,
    threads: int | None = None,
    model: Path | None = None,
    module: str = "worker",
    batch: int = 4,
    log: Path | None = None,
    extra: dict[str, str] | None = None,
) -> Iterator[Measured]:
    """A stack of its own. `threads` of each worker; None: torch's own choice."""
    environment = {"DDSR_BATCH_SIZE": str(batch), "DDSR_RATE_LIMIT": "", **(extra or {})}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    if model is not None:
        environment["DDSR_MODEL"] = str(model)
    start = time.perf_counter()
    with (
        open(log or Path(os.devnull), "a") as stream,
        temporary_stack(stream, worker_module=module, extra=environment, workers=workers) as stack,
    ):
        yield Measured(stack, time.perf_counter() - start)


def spent(before: dict[str, float], after: dict[str, float], jobs: int) -> dict[str, float]:
    """Milliseconds of CPU a job of each process."""
    return {name: (after[name] - seconds) * 1000 / jobs for name, seconds in before.items() if name in after}
