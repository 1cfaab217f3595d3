"""Concurrent requests as the client words them, each answered at once, and what became of each."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import httpx

from ddsr_client.base import DIRECT, ClientBase, reply_of
from ddsr_client.secret import Secret
from ddsr_client.wire import NoReply, Reply, Request
from stack.stack import Stack

WAIT = 300  # seconds


@dataclass(frozen=True)
class Answer:
    """A reply, or why none came. `end` is on the clock of time.perf_counter."""

    outcome: Reply | NoReply
    seconds: float
    end: float

    @property
    def words(self) -> str:
        """The status, or why there is none."""
        return self.outcome.why if isinstance(self.outcome, NoReply) else str(self.outcome.status)

    @property
    def served(self) -> bool:
        return self.words == "200"

    @property
    def refused(self) -> bool:
        """With 503 and a Retry-After."""
        reply = self.outcome
        return isinstance(reply, Reply) and reply.status == 503 and reply.headers.get("retry-after", "").isdigit()


class Caller(ClientBase):
    """Makes the requests to one stack. Tries nothing again, and sends no idempotency key."""

    def __init__(self, sender_url: str, receiver_url: str) -> None:
        super().__init__(sender_url, receiver_url, None, None, None, None, False)

    @classmethod
    def of(cls, stack: Stack) -> "Caller":
        return cls(stack.sender_url, stack.receiver_url)

    def hide(self, picture: bytes, identity: str, disguise: str) -> Request:
        """`POST /hide` that waits for the stego."""
        request = self._core.hide_request(
            picture,
            Secret(identity),
            disguise,
            scheme=None,
            channel=None,
            face_size=None,
            steps=None,
            format="png",
            crop="auto",
            webhook=None,
            idempotency_key=None,
        )
        return _waiting(request)

    def recover(self, stego: bytes, identity: str, recipe: str) -> Request:
        """`POST /recover` that waits for the face."""
        request = self._core.recover_request(
            stego, Secret(identity), recipe=recipe, decoy=False, format="png", webhook=None, idempotency_key=None
        )
        return _waiting(request)


def _waiting(request: Request) -> Request:
    return replace(request, headers={"Prefer": f"wait={WAIT}"})


def post_all(requests: Sequence[Request], clients: int) -> list[Answer]:
    """Every request once, by `clients` clients of which each sends its next when its last was answered."""
    return asyncio.run(_all(requests, clients))


async def _all(requests: Sequence[Request], clients: int) -> list[Answer]:
    waiting = iter(requests)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(limits=limits, mounts=DIRECT) as client:

        async def work() -> list[Answer]:
            return [await _post(client, request) for request in waiting]

        found = await asyncio.gather(*(work() for _ in range(clients)))
    return [answer for answers in found for answer in answers]


async def _post(client: httpx.AsyncClient, request: Request) -> Answer:
    arguments = request.arguments() | {"timeout": WAIT + 30}
    outcome: Reply | NoReply
    start = time.perf_counter()
    try:
        response = await client.request(**arguments)
        outcome = reply_of(response, response.content)
    except httpx.HTTPError as error:
        outcome = NoReply(type(error).__name__)
    end = time.perf_counter()
    return Answer(outcome, end - start, end)


def rate(answers: Sequence[Answer], start: float) -> float:
    """Pictures a second, from the first request to the last answer."""
    done = [answer for answer in answers if answer.served]
    return len(done) / (max(answer.end for answer in done) - start) if done else 0.0


def tally(answers: Sequence[Answer]) -> dict[str, Any]:
    """How many were served, refused, and lost (anything else)."""
    served, refused = sum(answer.served for answer in answers), sum(answer.refused for answer in answers)
    other = Counter(answer.words for answer in answers if answer.words not in ("200", "503"))
    lost = len(answers) - served - refused
    return {"sent": len(answers), "served": served, "refused": refused, "lost": lost, "other": dict(other)}


def all_served(answers: list[Answer]) -> list[Reply]:
    """The replies. Raises RuntimeError when an answer is no picture: then there is nothing to time."""
    replies = [answer.outcome for answer in answers if isinstance(answer.outcome, Reply) and answer.served]
    if len(replies) != len(answers):
        raise RuntimeError(f"not every request was served: {tally(answers)}")
    return replies


def latency(answers: Sequence[Answer]) -> dict[str, float]:
    """Median and 90th percentile in milliseconds."""
    times = sorted(answer.seconds * 1000 for answer in answers)
    return {"median_ms": median(times), "p90_ms": times[int(0.9 * (len(times) - 1))]}
