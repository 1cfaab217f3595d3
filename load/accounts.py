"""The callers' ledgers against the counters of the services and the worker: is every job accounted for?"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import httpx
from prometheus_client.parser import text_string_to_metric_families

from ddsr_client.models import TERMINAL, Kind

Labels = tuple[tuple[str, str], ...]
Book = Literal["requests", "jobs", "broken"]  # every answer; every accepted job and every end seen; what was wrong


def open_books(folder: Path) -> None:
    """Empty files of a ledger."""
    for book in get_args(Book):
        (folder / f"{book}.jsonl").touch()


def note(folder: Path, book: Book, **fields: Any) -> None:
    """One line of a book, on disk at once."""
    with open(folder / f"{book}.jsonl", "a", encoding="utf-8") as stream:
        stream.write(json.dumps({"t": round(time.time(), 3), **fields}) + "\n")


@dataclass
class Ledger:
    """`jobs`: kind by id of every accepted job. `ends`: its end. `answers`: every answer that a caller got.

    `broken`: what a caller found wrong in an answer of the right status.
    """

    jobs: dict[str, Kind] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    contradictions: list[str] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> "Ledger":
        """What was noted. Two ends of one job contradict each other unless one says that its picture has
        gone (`expired` after `done`).
        """
        broken = [line["what"] for line in _lines(folder / "broken.jsonl")]
        ledger = cls(answers=list(_lines(folder / "requests.jsonl")), broken=broken)
        for line in _lines(folder / "jobs.jsonl"):
            ledger.jobs[line["job"]] = line["kind"]
            if line["event"] in TERMINAL:
                before = ledger.ends.setdefault(line["job"], line["event"])
                if before != line["event"] and (before, line["event"]) != ("done", "expired"):
                    ledger.contradictions.append(f"{line['job']}: {before}, then {line['event']}")
        return ledger

    @property
    def open(self) -> dict[str, Kind]:
        """Kind by id of the jobs whose end no caller saw."""
        return {job: kind for job, kind in self.jobs.items() if job not in self.ends}

    def count(self, kind: str) -> Counter[str]:
        """Ends of the jobs of a kind."""
        return Counter(self.ends.get(job, "open") for job, its in self.jobs.items() if its == kind)


def scrape(url: str, key: str | None = None) -> dict[str, dict[Labels, float]]:
    """Samples of a /metrics address by name and labels."""
    answer = httpx.get(url, headers={"X-API-Key": key} if key else {}, timeout=30, trust_env=False)
    text = answer.raise_for_status().text
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def total(samples: Mapping[Labels, float], **labels: str) -> int:
    """Sum of the samples that carry these labels."""
    wanted = set(labels.items())
    return round(sum(value for found, value in samples.items() if wanted <= set(found)))


@dataclass(frozen=True)
class Check:
    """One line of the account: two numbers that ought to agree, or a number and its bound."""

    what: str
    found: str
    wanted: str
    good: bool


def equal(what: str, found: int, wanted: int) -> Check:
    return Check(what, str(found), str(wanted), found == wanted)


def job_checks(ledger: Ledger, services: Mapping[str, Any], workers: Mapping[str, Any]) -> list[Check]:
    """Accepted by the callers' account, by the services' counters and by the worker's."""
    checks = [
        equal("accepted jobs without an end", len(ledger.open), 0),
        equal("jobs with two different ends", len(ledger.contradictions), 0),
    ]
    jobs = workers.get("ddsr_worker_jobs_total", {})
    for kind, service in (("hide", "sender"), ("recover", "receiver")):
        ends = ledger.count(kind)
        submitted = total(services[service].get("ddsr_jobs_submitted_total", {}), kind=kind)
        checks.append(equal(f"{kind}: accepted, as the {service} counts", sum(ends.values()), submitted))
        for outcome in ("done", "failed"):
            counted = total(jobs, kind=kind, outcome=outcome)
            checks.append(equal(f"{kind}: {outcome}, as the worker counts", ends[outcome], counted))
        checks.append(equal(f"{kind}: expired", ends["expired"], 0))
    return checks


def answer_checks(ledger: Ledger, services: Mapping[str, Any]) -> list[Check]:
    """Answers that the callers got against answers that the services gave, by service; all but those to callers who had
    hung up.
    """
    hung_up = sum(answer["name"] == "hide: hang up" and answer["status"] == 0 for answer in ledger.answers)
    checks = []
    for service, metrics in services.items():
        got = sum(answer["service"] == service and answer["status"] != 0 for answer in ledger.answers)
        samples = metrics["ddsr_http_requests_total"]
        asked = {found: value for found, value in samples.items() if dict(found)["route"] not in _OURS}
        gave = total(asked)
        spare = hung_up if service == "sender" else 0
        good = got <= gave <= got + spare
        checks.append(Check(f"{service}: answers", str(got), f"{gave}, of which up to {spare} to nobody", good))
    errors = Counter(answer["failed"] for answer in ledger.answers if answer["failed"])
    checks.append(Check("answers that were not expected", str(sum(errors.values())), "0", not errors))
    checks.append(equal("answers of the right status that were wrong", len(ledger.broken), 0))
    server = sum(answer["status"] >= 500 for answer in ledger.answers)
    checks.append(equal("answers of 500 and more", server, 0))
    return checks


_OURS = ("/metrics", "/readyz", "/livez")


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)
