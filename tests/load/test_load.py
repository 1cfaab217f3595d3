"""The accounts of `load`: a short run of its callers, and books that do not balance."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from load import accounts, page
from load.__main__ import main
from load.accounts import Ledger
from load.sampler import Sample

pytestmark = pytest.mark.timeout(300)


@pytest.mark.slow
def test_a_short_run_balances(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The callers for twenty seconds against Redis, both services and the worker without torch."""
    words = "--seconds 20 --users 4 --worker-module tests.worker.arithmetic --out"
    assert main([*words.split(), str(tmp_path / "run")]) == 0, capsys.readouterr().out
    text = (tmp_path / "run" / "report.md").read_text()
    assert "**no**" not in text
    assert (tmp_path / "run" / "load.png").stat().st_size > 10_000


def write(
    folder: Path, jobs: list[dict[str, Any]], requests: list[dict[str, Any]], broken: Sequence[str] = ()
) -> Ledger:
    for name, lines in (("jobs", jobs), ("requests", requests), ("broken", [{"what": what} for what in broken])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Ledger.read(folder)


def event(job: str, name: str, kind: str = "hide") -> dict[str, Any]:
    return {"job": job, "kind": kind, "event": name}


def answer(status: int, service: str = "sender", failed: str | None = None) -> dict[str, Any]:
    return {"name": "x", "ms": 5.0, "status": status, "service": service, "failed": failed}


def metrics(**samples: dict[tuple[tuple[str, str], ...], float]) -> dict[str, Any]:
    return dict(samples)


def counters(hides: int, done: int) -> tuple[dict[str, Any], dict[str, Any]]:
    services = {
        "sender": metrics(ddsr_jobs_submitted_total={(("kind", "hide"),): hides}),
        "receiver": metrics(ddsr_jobs_submitted_total={}),
    }
    return services, metrics(ddsr_worker_jobs_total={(("kind", "hide"), ("outcome", "done")): done})


def bad(checks: list[accounts.Check]) -> list[str]:
    return [check.what for check in checks if not check.good]


def test_books_that_balance(tmp_path: Path) -> None:
    ledger = write(
        tmp_path, [event("a", "accepted"), event("a", "done"), event("a", "expired"), event("b", "cancelled")], []
    )
    assert bad(accounts.job_checks(ledger, *counters(hides=2, done=1))) == []


def test_a_lost_job_is_seen(tmp_path: Path) -> None:
    """Accepted and never ended; ended twice; more in the service's books, or in the worker's, than in ours."""
    ledger = write(tmp_path, [event("a", "accepted"), event("b", "done"), event("b", "failed")], [])
    assert list(ledger.open) == ["a"]
    found = bad(accounts.job_checks(ledger, *counters(hides=3, done=2)))
    assert found == [
        "accepted jobs without an end",
        "jobs with two different ends",
        "hide: accepted, as the sender counts",
        "hide: done, as the worker counts",
    ]


def test_answers_that_nobody_wanted_are_seen(tmp_path: Path) -> None:
    ledger = write(
        tmp_path, [], [answer(200), answer(503, failed="503"), answer(200, "receiver")], ["a picture of size 0"]
    )
    count = {(("route", "/hide"),): 2.0, (("route", "/metrics"),): 9.0}
    services = {
        "sender": metrics(ddsr_http_requests_total=count),
        "receiver": metrics(ddsr_http_requests_total={(("route", "/recover"),): 2.0}),
    }
    assert bad(accounts.answer_checks(ledger, services)) == [
        "receiver: answers",
        "answers that were not expected",
        "answers of the right status that were wrong",
        "answers of 500 and more",
    ]


def samples(keys: list[int], worker: list[float]) -> list[Sample]:
    return [
        Sample(float(i), {"worker": rss}, {"all": all_}, 2.0, 1.0, 0)
        for i, (all_, rss) in enumerate(zip(keys, worker, strict=True))
    ]


def test_a_leak_is_seen_and_a_start_is_none() -> None:
    start = [100, *range(200, 800, 100), *[800] * 23]
    assert bad(page.flat_checks(samples(start, [500.0] * 30))) == []
    leak = list(range(0, 30_000, 1000))
    assert bad(page.flat_checks(samples(leak, [500.0 + 10 * i for i in range(30)]))) == [
        "flat: worker, MiB",
        "flat: keys in Redis",
    ]


def test_busy_moments_are_no_leak_and_a_risen_floor_is_one() -> None:
    busy = [100.0 + 150 * (i % (4 if i < 20 else 2) == 1) for i in range(30)]
    assert bad(page.flat_checks(samples([10] * 30, busy))) == []
    risen = [value + (60 if i >= 20 else 0) for i, value in enumerate(busy)]
    assert bad(page.flat_checks(samples([10] * 30, risen))) == ["flat: worker, MiB"]


def test_percentiles_are_of_answers_only(tmp_path: Path) -> None:
    lost = {**answer(0), "ms": 9e9}
    ledger = write(tmp_path, [], [{**answer(200), "ms": float(ms)} for ms in range(1, 102)] + [lost])
    assert page.percentiles(ledger) == [("x", 101, 51.0, 96.0, 100.0, 101.0)]
