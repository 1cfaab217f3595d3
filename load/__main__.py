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
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from load import report
from load.accounts import Check, Ledger, answer_checks, equal, job_checks, scrape
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
TINY = (
    "import sys; from pathlib import Path; from shared.diffusion.tiny import build_tiny; build_tiny(Path(sys.argv[1]))"
)


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
    report.write(run, options.out)
    for check in run.checks:
        sys.stdout.write(f"{'ok ' if check.good else 'NO '} {check.what}: {check.found} (wanted: {check.wanted})\n")
    sys.stdout.write(f"{options.out / 'report.md'}\n")
    return 0 if all(check.good for check in run.checks) else 1


def _run(options: argparse.Namespace) -> report.Run:
    out: Path = options.out.absolute()
    (metrics,) = free_ports(1)
    key, line = new_key("load")
    chosen = {**SHORT_LIVES, "DDSR_BATCH_SIZE": str(options.batch), "DDSR_RATE_LIMIT": "", "DDSR_POLL_LIMIT": ""}
    extra = {**chosen, "DDSR_API_KEYS": line, "DDSR_QUEUE": QUEUE}
    extra["OMP_NUM_THREADS"] = "1"  # a tiny model gains nothing from a second thread, and waits for it
    if options.worker_module == "worker":
        subprocess.run([sys.executable, "-c", TINY, str(out / "model")], check=True)  # noqa: S603
        extra["DDSR_MODEL"] = str(out / "model")
    with (
        open(out / "stack.log", "w", encoding="utf-8") as log,
        temporary_stack(log, worker_module=options.worker_module, extra=extra, metrics_port=metrics) as stack,
    ):
        return _measure(options, out, stack, key, chosen)


def _measure(options: argparse.Namespace, out: Path, stack: Stack, key: str, chosen: dict[str, str]) -> report.Run:
    parts = dict(stack.supervisor.pids())
    with Sampler(stack.supervisor.pids, stack.redis, QUEUE) as sampler:
        seconds = _call(options, out, stack, key)
        ledger = _settle(out, stack, key)
    stack.supervisor.check()
    services = {name: scrape(f"{url}/metrics", key) for name, url in _addresses(stack).items()}
    workers = scrape(f"http://127.0.0.1:{stack.settings.metrics_port}/metrics")
    restarts = sum(pid != parts[name] for name, pid in stack.supervisor.pids().items())
    samples = sampler.samples
    _save(samples, out / "samples.jsonl")
    checks: list[Check] = [
        equal("parts that had to be started again", restarts, 0),
        *job_checks(ledger, services, workers),
        *answer_checks(ledger, services),
        *_left_checks(stack),
    ]
    if len(samples) >= 60:  # less is all start
        while_calling = [sample for sample in samples if sample.seconds <= seconds]
        checks += report.flat_checks(while_calling)
    command = "python -m load " + " ".join(sys.argv[1:])
    tombstone = _tombstone(stack, ledger)
    return report.Run(
        command.strip(), seconds, options.users, chosen, ledger, samples, checks, tombstone, options.beside
    )


def _call(options: argparse.Namespace, out: Path, stack: Stack, key: str) -> float:
    """Let the callers loose, in a process of their own; they end what they began. Gives the seconds."""
    environment = {
        **os.environ,
        "DDSR_LOAD_SENDER": stack.sender_url,
        "DDSR_LOAD_RECEIVER": stack.receiver_url,
        "DDSR_LOAD_KEY": key,
        "DDSR_LOAD_FOLDER": str(out),
    }
    profile = Path(__file__).with_name("profile.py")
    command = [
        *(sys.executable, "-m", "stack.pdeathsig", str(os.getpid())),  # ends with us
        *(sys.executable, "-m", "locust"),
        "-f",
        str(profile),
        "--headless",
        "--only-summary",
        "--exit-code-on-error",
        "0",
    ]
    command += [
        "--users",
        str(options.users),
        "--spawn-rate",
        "4",
        "--run-time",
        f"{options.seconds}s",
        "--stop-timeout",
        "150",
    ]
    start = time.monotonic()
    with open(out / "locust.log", "wb") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=log)  # noqa: S603
    if done.returncode != 0:
        raise SystemExit(f"locust ended with {done.returncode}:\n{(out / 'locust.log').read_text()[-2000:]}")
    return time.monotonic() - start


def _settle(out: Path, stack: Stack, key: str) -> Ledger:
    """The ledger once nothing is open any more, or as it is when patience is over."""
    deadline = time.monotonic() + PATIENCE
    addresses = {"hide": stack.sender_url, "recover": stack.receiver_url}
    ledger = Ledger.read(out)
    while ledger.open and time.monotonic() < deadline:
        for job, kind in ledger.open.items():
            request = urllib.request.Request(f"{addresses[kind]}/jobs/{job}?wait=5", headers={"X-API-Key": key})  # noqa: S310
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                state = json.load(answer)["state"]
            note = {"name": "settle", "ms": 0.0, "status": 200, "failed": None}
            where = {"service": "sender" if kind == "hide" else "receiver", "method": "GET", "route": "/jobs/{job_id}"}
            _append(out / "requests.jsonl", {**note, **where})
            _append(out / "jobs.jsonl", {"job": job, "kind": kind, "event": state})
        ledger = Ledger.read(out)
    return ledger


def _left_checks(stack: Stack) -> list[Check]:
    """What must be gone once every job has ended."""
    client: Any = stack.redis()
    try:
        lists = QueueKeys.of(QueueSettings(queue=QUEUE))
        waiting = client.llen(lists.waiting) + client.llen(lists.intermediate)
        keys = count_keys(client)
        lasting = [name for name in client.scan_iter(match=record_key("*")) if client.ttl(name) == -1]
    finally:
        client.close()
    return [
        equal("ids left in the queue", waiting, 0),
        equal("sealed requests left in Redis", keys.get("request", 0), 0),
        equal("records of jobs that would stay for ever", len(lasting), 0),
    ]


def _tombstone(stack: Stack, ledger: Ledger) -> int:
    """Bytes that an ended job's record takes in Redis; 0 where none is left to be measured."""
    client: Any = stack.redis()
    try:
        sizes = (client.memory_usage(record_key(job)) for job in reversed(ledger.ends))
        return int(next((size for size in sizes if size), 0))
    finally:
        client.close()


def _addresses(stack: Stack) -> dict[str, str]:
    return {"sender": stack.sender_url, "receiver": stack.receiver_url}


def _append(path: Path, fields: dict[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(fields) + "\n")


def _save(samples: Sequence[Any], path: Path) -> None:
    path.write_text("".join(json.dumps(asdict(sample)) + "\n" for sample in samples), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
