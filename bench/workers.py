"""`ddsr bench workers`: one and two workers of one thread each, and what a job costs each process of the stack."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.client import Caller, all_served, post_all, rate, tally
from bench.faces import DISGUISES, PORTRAIT
from bench.measured import running, spent
from bench.service import DISGUISE, IDENTITY

Say = Callable[[str], None]
JOB_COUNTERS = ("total_commands_processed", "total_net_input_bytes", "total_net_output_bytes")


@dataclass(frozen=True)
class WorkersOptions:
    """`pictures` a round and number of workers; `jobs` of the measurement of costs, by `clients` clients."""

    counts: Sequence[int] = (1, 2)
    clients: int = 16
    batch: int = 4
    pictures: int = 24
    rounds: int = 2
    jobs: int = 400
    log: Path | None = None


def run(source: Path | None, options: WorkersOptions, say: Say = lambda text: None) -> dict[str, Any]:
    """Throughput by number of workers, in turn, and the costs of a job."""
    rates: dict[int, list[float]] = {count: [] for count in options.counts}
    for _ in range(options.rounds):
        for count in options.counts:
            rates[count].append(_rate(source, count, options))
            say(f"{count} workers: {rates[count][-1]:.2f} pictures a second")
    costs = job_costs(options)
    return {"rates": {str(count): found for count, found in rates.items()}, "costs": costs}


def _rate(source: Path | None, count: int, options: WorkersOptions) -> float:
    upload = PORTRAIT.read_bytes()
    with running(workers=count, threads=1, model=source, batch=options.batch, log=options.log) as stack:
        caller = Caller.of(stack.stack)
        texts = [DISGUISES[i % len(DISGUISES)] for i in range(options.pictures)]
        requests = [caller.hide(upload, IDENTITY, text) for text in texts]
        start = time.perf_counter()
        answers = post_all(requests, options.clients)
        all_served(answers)
        return rate(answers, start)


def job_costs(options: WorkersOptions) -> dict[str, Any]:
    """A saturated stack whose core computes nothing: CPU of each process, commands and bytes of Redis, all per job."""
    upload = PORTRAIT.read_bytes()
    with running(module="bench.noop_worker", batch=options.batch, log=options.log) as stack:
        call = Caller.of(stack.stack).hide(upload, IDENTITY, DISGUISE)
        post_all([call] * options.clients, options.clients)
        cpu, redis, start = stack.cpu(), stack.redis(), time.perf_counter()
        answers = post_all([call] * options.jobs, options.clients)
        seconds = time.perf_counter() - start
        served = tally(answers)["served"]
        after = stack.redis()
        costs = {name: (after[name] - redis[name]) / served for name in JOB_COUNTERS}
        return {
            "jobs": served,
            "jobs_a_second": served / seconds,
            "cpu_ms": spent(cpu, stack.cpu(), served),
            "redis": costs,
        }
