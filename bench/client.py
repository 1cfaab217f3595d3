"""Concurrent requests over HTTP, and what became of each."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import httpx

WAIT = 300  # seconds


@dataclass(frozen=True)
class Answer:
    """status 0: the connection failed, `problem` says how. `end` is on the clock of time.perf_counter."""

    status: int
    seconds: float
    end: float
    content: bytes = b""
    recipe: str = ""
    retry_after: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Call:
    """One POST of a form with one file."""

    url: str
    field: str
    picture: bytes
    form: Mapping[str, str]


def hide_call(base: str, picture: bytes, identity: str, disguise: str) -> Call:
    return Call(f"{base}/hide", "image", picture, {"identity_prompt": identity, "disguise_prompt": disguise})


def recover_call(base: str, stego: bytes, identity: str, recipe: str) -> Call:
    return Call(f"{base}/recover", "stego", stego, {"identity_prompt": identity, "recipe": recipe})


def post_all(calls: Sequence[Call], clients: int) -> list[Answer]:
    """Every call once, by `clients` clients of which each sends its next call when its last was answered."""
    return asyncio.run(_all(calls, clients))


async def _all(calls: Sequence[Call], clients: int) -> list[Answer]:
    waiting = iter(calls)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(timeout=WAIT + 30, limits=limits) as client:

        async def work() -> list[Answer]:
            return [await _post(client, call) for call in waiting]

        found = await asyncio.gather(*(work() for _ in range(clients)))
    return [answer for answers in found for answer in answers]


async def _post(client: httpx.AsyncClient, call: Call) -> Answer:
    start = time.perf_counter()
    try:
        found = await client.post(
            call.url, files={call.field: ("picture", call.picture)}, data=dict(call.form),
            headers={"Prefer": f"wait={WAIT}"},
        )  # fmt: skip
    except httpx.HTTPError as error:
        end = time.perf_counter()
        return Answer(0, end - start, end, problem=type(error).__name__)
    end = time.perf_counter()
    head = found.headers
    return Answer(
        found.status_code, end - start, end, found.content, head.get("DDSR-Recipe", ""), head.get("Retry-After", "")
    )


def rate(answers: Sequence[Answer], start: float) -> float:
    """Pictures a second, from the first request to the last answer."""
    done = [answer for answer in answers if answer.status == 200]
    return len(done) / (max(answer.end for answer in done) - start) if done else 0.0


def tally(answers: Sequence[Answer]) -> dict[str, Any]:
    """How many were served, refused with 503 and a Retry-After, and lost (anything else)."""
    served = sum(answer.status == 200 for answer in answers)
    refused = sum(answer.status == 503 and answer.retry_after.isdigit() for answer in answers)
    other = Counter(answer.problem or str(answer.status) for answer in answers if answer.status not in (200, 503))
    return {"sent": len(answers), "served": served, "refused": refused, "lost": len(answers) - served - refused,
            "other": dict(other)}  # fmt: skip


def latency(answers: Sequence[Answer]) -> dict[str, float]:
    """Median and 90th percentile in milliseconds."""
    times = sorted(answer.seconds * 1000 for answer in answers)
    return {"median_ms": median(times), "p90_ms": times[int(0.9 * (len(times) - 1))]}
