"""`python -m load [--seconds 60]`: callers against a stack of their own, and a report of what became of every job.

Starts Redis, a worker with a tiny model of random weights and both services (as `ddsr up` does), lets locust's callers
loose on them, waits for the last job, and compares the callers' ledgers with everybody's counters. Ends with 1 where
they differ, an answer was not expected, or memory or keys grew.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from ddsr_client import Client, WaitTimeout
from ddsr_client.models import Kind
from figures.provenance import provenance
from load import page
from load.accounts import Check, Ledger, answer_checks, equal, job_checks, note, open_books, scrape
from load.sampler import Sampler, count_keys
from services.common.keys import new_key
from shared.jobs.rq import QueueKeys
from shared.jobs.scripts import record_key
from shared.settings import QueueSettings
from stack.stack import Stack
from stack.temporary import free_ports, temporary_stack

QUEUE = "ddsr"
SHORT_LIVES = {
    "DDSR_RESULT_TTL": "60",
    "DDSR_FIRST_READ_TTL": "10",
    "DDSR_TOMBSTONE_TTL": "60",
    "DDSR_IDEMPOTENCY_TTL": "60",
}
PATIENCE = 180  # seconds for what is still queued when the callers go


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m load", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--users", type=int, default=12)
    parser.add_argument("--batch", type=int, default=8, help="jobs that the worker computes together at most")
    parser.add_argument("--out", type=Path, default=Path("runs/load"))
    parser.add_argument("--beside", default="nothing known", help="what else the machine does, for the report")
    parser.add_argument("--worker-module", default="worker", help="another worker, for tests")
    options = parser.parse_args(arguments)
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    run = _run(options)
    page.write(run, options.out)
    for check in run.checks:
        sys.stdout.write(f"{'ok ' if check.good else 'NO '} {check.what}: {check.found} (wanted: {check.wanted})\n")
    sys.stdout.write(f"{options.out / 'report.md'}\n")
    return 0 if all(check.good for check in run.checks) else 1


def _run(options: argparse.Namespace) -> page.Run:
    out: Path = options.out.absolute()
    open_books(out)
    (metrics,) = free_ports(1)
    key, line = new_key("load")
    chosen = {**SHORT_LIVES, "DDSR_BATCH_SIZE": str(options.batch), "DDSR_RATE_LIMIT": "", "DDSR_POLL_LIMIT": ""}
    extra = {**chosen, "DDSR_API_KEYS": line, "DDSR_QUEUE": QUEUE}
    extra["OMP_NUM_THREADS"] = "1"  # a tiny model gains nothing from a second thread, and waits for it
    if options.worker_module == "worker":
        from shared.diffusion.tiny import build_tiny

        extra["DDSR_MODEL"] = str(build_tiny(out / "model"))
    with (
        open(out / "stack.log", "w", encoding="utf-8") as log,
        temporary_stack(log, worker_module=options.worker_module, extra=extra, metrics_port=metrics) as stack,
    ):
        return _measure(options, out, stack, key, chosen)


def _measure(options: argparse.Namespace, out: Path, stack: Stack, key: str, chosen: dict[str, str]) -> page.Run:
    parts = dict(stack.supervisor.pids())
    with Sampler(stack.supervisor.pids, stack.redis, QUEUE) as sampler:
        seconds = _call(options, out, stack, key)
        ledger = _settled(out, stack, key)
    stack.supervisor.check()
    services = {name: scrape(f"{url}/metrics", key) for name, url in _addresses(stack).items()}
    workers = scrape(f"http://127.0.0.1:{stack.settings.metrics_port}/metrics")
    restarts = sum(pid != parts[name] for name, pid in stack.supervisor.pids().items())
    samples = sampler.samples
    (out / "samples.jsonl").write_text("".join(json.dumps(asdict(sample)) + "\n" for sample in samples))
    checks: list[Check] = [
        equal("parts that had to be started again", restarts, 0),
        *job_checks(ledger, services, workers),
        *answer_checks(ledger, services),
        *_left_checks(stack),
    ]
    if len(samples) >= 60:  # less is all start
        checks += page.flat_checks([sample for sample in samples if sample.seconds <= seconds])
    made, tombstone = provenance(), _tombstone(stack, ledger)
    return page.Run(made, seconds, options.users, chosen, ledger, samples, checks, tombstone, options.beside)


def _call(options: argparse.Namespace, out: Path, stack: Stack, key: str) -> float:
    """Let the callers loose, in a process of their own; they end what they began. Gives the seconds."""
    environment = {
        **os.environ,
        "DDSR_LOAD_SENDER": stack.sender_url,
        "DDSR_LOAD_RECEIVER": stack.receiver_url,
        "DDSR_LOAD_KEY": key,
        "DDSR_LOAD_FOLDER": str(out),
    }
    ends_with_us = f"-m stack.pdeathsig {os.getpid()} {sys.executable}".split(" ")
    words = [
        "-m",
        "locust",
        "--headless",
        "--only-summary",
        "--exit-code-on-error",
        "0",
        "--spawn-rate",
        "4",
        "--stop-timeout",
        "150",
    ]
    words += ["--users", str(options.users), "--run-time", f"{options.seconds}s"]
    command = [sys.executable, *ends_with_us, *words, "-f", str(Path(__file__).with_name("profile.py"))]
    start = time.monotonic()
    with open(out / "locust.log", "wb") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=log)
    if done.returncode != 0:
        raise SystemExit(f"locust ended with {done.returncode}:\n{(out / 'locust.log').read_text()[-2000:]}")
    return time.monotonic() - start


def _settled(out: Path, stack: Stack, key: str) -> Ledger:
    """The ledger once nothing is open any more, or as it is when patience is over. Our answers are noted, too."""

    def heard(response: httpx.Response) -> None:
        service = "sender" if str(response.url).startswith(stack.sender_url) else "receiver"
        note(out, "requests", name="settle", ms=0.0, status=response.status_code, failed=None, service=service)

    deadline = time.monotonic() + PATIENCE
    with httpx.Client(event_hooks={"response": [heard]}, trust_env=False) as http:
        client = Client(stack.sender_url, stack.receiver_url, api_key=key, http=http)
        for job, kind in Ledger.read(out).open.items():
            _follow(out, client, kind, job, deadline - time.monotonic())
    return Ledger.read(out)


def _follow(out: Path, client: Client, kind: Kind, job: str, seconds: float) -> None:
    try:
        state = client.job(kind, job).wait(max(seconds, 0.1)).state
    except WaitTimeout:
        return
    note(out, "jobs", job=job, kind=kind, event=state)


def _left_checks(stack: Stack) -> list[Check]:
    """What must be gone once every job has ended."""
    with closing(stack.redis()) as connection:
        client: Any = connection
        lists = QueueKeys.of(QueueSettings(queue=QUEUE))
        waiting = client.llen(lists.waiting) + client.llen(lists.intermediate)
        keys = count_keys(client)
        lasting = [name for name in client.scan_iter(match=record_key("*")) if client.ttl(name) == -1]
    return [
        equal("ids left in the queue", waiting, 0),
        equal("sealed requests left in Redis", keys.get("request", 0), 0),
        equal("records of jobs that would stay for ever", len(lasting), 0),
    ]


def _tombstone(stack: Stack, ledger: Ledger) -> int:
    """Bytes that an ended job's record takes in Redis; 0 where none is left to be measured."""
    with closing(stack.redis()) as connection:
        client: Any = connection
        sizes = (client.memory_usage(record_key(job)) for job in reversed(ledger.ends))
        return int(next((size for size in sizes if size), 0))


def _addresses(stack: Stack) -> dict[str, str]:
    return {"sender": stack.sender_url, "receiver": stack.receiver_url}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
