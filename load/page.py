"""The run as a page: what was asked how often and how quickly, what became of the jobs, what memory did."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from figures.provenance import machine
from figures.tables import markdown
from load.accounts import Check, Ledger
from load.sampler import Sample

Rows = Sequence[Sequence[str]]
FLAT = 1.15  # the last third of a flat curve lies at most this far above the middle third
SPARE = {"rss": 24.0, "keys": 200.0, "memory": 8.0}  # and this many MiB or keys, for small ones


@dataclass(frozen=True)
class Run:
    """What the report is made of. `made`: its provenance; `settings`: environment variables unlike the defaults."""

    made: Mapping[str, Any]
    seconds: float
    users: int
    settings: Mapping[str, str]
    ledger: Ledger
    samples: Sequence[Sample]
    checks: Sequence[Check]
    tombstone: int
    beside: str


def percentiles(ledger: Ledger) -> list[tuple[str, int, float, float, float, float]]:
    """Name, number, p50, p95, p99 and longest in milliseconds, of the answers of each kind."""
    times: dict[str, list[float]] = defaultdict(list)
    for answer in ledger.answers:
        if answer["status"] != 0 and answer["name"] != "settle":
            times[answer["name"]].append(answer["ms"])
    rows = []
    for name, found in sorted(times.items()):
        p50, p95, p99 = np.percentile(found, [50, 95, 99])
        rows.append((name, len(found), float(p50), float(p95), float(p99), max(found)))
    return rows


def curves(samples: Sequence[Sample]) -> dict[str, list[float]]:
    """What ought to stay flat, by name."""
    found = {f"{part}, MiB": [sample.rss.get(part, 0.0) for sample in samples] for part in samples[0].rss}
    found["Redis' own count, MiB"] = [sample.redis_memory for sample in samples]
    found["keys in Redis"] = [float(sample.keys["all"]) for sample in samples]
    return found


def flat_checks(samples: Sequence[Sample]) -> list[Check]:
    """The middle third of each curve against the last: a start warms up, a leak goes on.

    Of memory the lower edge counts (10th percentile): the rest says how many pictures are being decoded at the moment.
    """
    checks = []
    for name, values in curves(samples).items():
        third = len(values) // 3
        percent = 10 if "MiB" in name else 50
        middle, last = (
            float(np.percentile(part, percent)) for part in (values[third : 2 * third], values[2 * third :])
        )
        spare = SPARE["keys"] if "keys" in name else SPARE["memory"] if "Redis'" in name else SPARE["rss"]
        bound = max(middle * FLAT, middle + spare)
        found, wanted = f"{last:.0f}", f"at most {bound:.0f} (before: {middle:.0f})"
        checks.append(Check(f"flat: {name}", found, wanted, last <= bound))
    return checks


def write(run: Run, out: Path) -> None:
    """`report.md` and `load.png` of a run."""
    plot(run.samples, out / "load.png")
    (out / "report.md").write_text("\n".join(lines(run)) + "\n", encoding="utf-8")


def lines(run: Run) -> list[str]:
    return [
        "# Load",
        "",
        "Mixed callers (`load/profile.py`) against a stack of their own: Redis, one worker with a tiny model of",
        "random weights, both services with API keys. The figures say how queue, services and worker behave, and",
        "nothing of the time that a real model takes ([benchmarks](benchmarks.md) has that).",
        "",
        *markdown(("", ""), _about(run)),
        "## Every job accounted for",
        "",
        *markdown(("", *_STATES, "all"), _jobs(run.ledger)),
        "`failed` is wanted: a prompt of few characters and too many tokens, which only the worker can count.",
        "",
        *markdown(("", "found", "wanted", ""), _checks(run.checks)),
        "## Times",
        "",
        "Milliseconds from the first byte of the request to the last of the answer, the caller's own time included.",
        "",
        *markdown(("", "answers", "p50", "p95", "p99", "longest"), _times(run.ledger)),
        "## Memory and keys",
        "",
        "![memory and keys over time](load.png)",
        "",
        "Jobs leave a record behind (their tombstone, so that a late look is told 410 and not 404). Here it lives for",
        f"the `DDSR_TOMBSTONE_TTL` above, by default for a day: {run.tombstone} bytes each, so that a million jobs a",
        f"day hold {run.tombstone * 1e6 / 2**20:.0f} MiB.",
    ]


_STATES = ("done", "failed", "cancelled", "expired", "open")


def _about(run: Run) -> Rows:
    made, jobs, answers = run.made, len(run.ledger.jobs), len(run.ledger.answers)
    return [
        ("command", f"`{made['command']}`"),
        ("commit", f"`{made['commit']}`"),
        ("machine", machine(made)),
        ("beside it", run.beside),
        ("callers, seconds", f"{run.users}, {run.seconds:.0f}"),
        ("settings", ", ".join(f"`{name}={value}`" for name, value in sorted(run.settings.items()))),
        ("jobs accepted", f"{jobs} ({jobs / run.seconds:.1f} a second)"),
        ("answers", f"{answers} ({answers / run.seconds:.1f} a second)"),
    ]


def _jobs(ledger: Ledger) -> Rows:
    counts = {kind: ledger.count(kind) for kind in ("hide", "recover")}
    return [
        (kind, *(str(found[state]) for state in _STATES), str(sum(found.values()))) for kind, found in counts.items()
    ]


def _checks(checks: Sequence[Check]) -> Rows:
    return [(check.what, check.found, check.wanted, "ok" if check.good else "**no**") for check in checks]


def _times(ledger: Ledger) -> Rows:
    return [(name, str(count), *(f"{value:.0f}" for value in rest)) for name, count, *rest in percentiles(ledger)]


def plot(samples: Sequence[Sample], path: Path) -> None:
    """Three curves over time: resident memory of the parts, keys by kind, jobs that wait."""
    from figures.plots import plt, saved

    times = [sample.seconds for sample in samples]
    figure, (memory, keys, queue) = plt.subplots(3, 1, figsize=(9, 8), sharex=True, height_ratios=(3, 3, 1.2))
    for part in samples[0].rss:
        memory.plot(times, [sample.rss.get(part, 0.0) for sample in samples], label=part)
    memory.plot(times, [sample.redis_memory for sample in samples], label="redis, its own count", linestyle=":")
    for name in sorted({name for sample in samples for name in sample.keys}):
        keys.plot(times, [sample.keys.get(name, 0) for sample in samples], label=name)
    queue.plot(times, [sample.queued for sample in samples], color="black")
    for axis, label in ((memory, "resident memory, MiB"), (keys, "keys in Redis"), (queue, "jobs that wait")):
        axis.grid(alpha=0.3)
        axis.set_ylim(bottom=0)
        axis.set_ylabel(label)
    for axis in (memory, keys):
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    queue.set_xlabel("seconds")
    saved(figure, path)
