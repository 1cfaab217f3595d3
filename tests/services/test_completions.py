"""Requests that wait hear of the end of their job, and find it as well when they cannot."""

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.common.completions import Completions, cancel
from services.common.responses import SPARE_POLL
from services.sender.app import SenderSettings, create_app
from shared.jobs.scripts import ENDED
from shared.logs import make_log
from shared.settings import QueueSettings
from stack.redis_server import RedisServer
from tests.services.conftest import Clients, hide_form, wait_until

SLOW = "a photo of an old man pause:0.3"  # seconds of each of five steps


def completions(client: TestClient) -> Completions:
    found: Completions = client.app.state.context.completions  # type: ignore[attr-defined]
    return found


def listening(client: TestClient) -> TestClient:
    wait_until(lambda: completions(client).listening, bool)
    return client


def looks(server: RedisServer) -> int:
    """How often a job was looked at: nothing else reads a whole record."""
    with server.client() as client:
        found: Any = client.info("commandstats")
    return int(found.get("cmdstat_hgetall", {"calls": 0})["calls"])


def hide(client: TestClient) -> Any:
    return client.post("/hide", headers={"Prefer": "wait=60"}, **hide_form(disguise_prompt=SLOW))


def test_a_waiting_request_looks_at_its_job_at_the_end(sender: Clients, shared_server: RedisServer) -> None:
    """And reads its result; between them once in `SPARE_POLL`, however long it takes."""
    client = listening(sender())
    before, start = looks(shared_server), time.monotonic()
    assert hide(client).status_code == 200
    assert looks(shared_server) - before <= 2 + (time.monotonic() - start) / SPARE_POLL


def test_a_completion_just_before_the_wait_is_noticed() -> None:
    async def noticed(job_id: str) -> bool:
        completions = Completions(QueueSettings(), make_log("sender", "error"))
        completions._receive({"type": "message", "data": b"quick"})
        with completions.watch(job_id) as completion:
            return await completion.wait(0.01)

    assert asyncio.run(noticed("quick"))
    assert not asyncio.run(noticed("slow"))


def test_a_request_that_hears_nothing_asks(sender: Clients, shared_server: RedisServer) -> None:
    client = listening(sender())
    completions(client).listening = False  # as while Redis is away; the listener sets it when it is back
    before = looks(shared_server)
    assert hide(client).status_code == 200
    assert looks(shared_server) - before > 8


def test_a_listener_that_lost_its_connection_listens_again(sender: Clients, shared_server: RedisServer) -> None:
    client = listening(sender())
    with ThreadPoolExecutor() as pool, shared_server.client() as admin:
        answer = pool.submit(hide, client)
        wait_until(lambda: admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub"), bool)
        wait_until(lambda: completions(client).listening, lambda is_on: not is_on)
        assert answer.result(60).status_code == 200
    assert hide(listening(client)).status_code == 200


def test_forged_word_of_an_end_ends_nothing(sender: Clients, shared_server: RedisServer) -> None:
    client = listening(sender())
    with ThreadPoolExecutor() as pool, shared_server.client() as admin:
        answer = pool.submit(hide, client)
        waits = completions(client)._waits
        wait_until(lambda: list(waits), bool)
        job = next(iter(waits))
        for word in (job, "", "\ud800".encode("utf-8", "surrogatepass"), b"\xff" * 1000):
            admin.publish(ENDED, word)
        assert answer.result(60).status_code == 200
    assert not waits


@pytest.mark.parametrize("address", ["unix:///nowhere/redis.sock", "redis://127.0.0.1:1"])
def test_a_service_starts_and_stops_while_redis_is_away(address: str) -> None:
    """Its stop raises what the listener did not foresee."""
    with TestClient(create_app(SenderSettings(), QueueSettings(redis_url=address))) as client:
        assert client.get("/livez").status_code == 200
        time.sleep(0.1)  # for its first try
        assert not completions(client).listening


async def outcomes(server: RedisServer, count: int, seed: int) -> list[bool]:
    """Whether each of so many listeners ended, cancelled in the first moments of its life."""
    settings = QueueSettings(redis_url=server.service_url)
    moments = random.Random(seed)

    async def one() -> bool:
        async with Completions(settings, make_log("sender", "error"), read_timeout=0.02).subscribed():
            await asyncio.sleep(moments.uniform(0.0, 0.12))
        return True

    return await asyncio.wait_for(asyncio.gather(*(one() for _ in range(count))), 60)


def test_two_thousand_listeners_end_when_told(shared_server: RedisServer) -> None:
    """Cancelled at random, as some of them just run into the time-out of their reading."""
    for seed in range(40):
        assert asyncio.run(outcomes(shared_server, 50, seed)) == [True] * 50


def test_a_task_that_eats_its_cancellations_ends_all_the_same() -> None:
    """As redis-py's reading does now and then; one that never ends is given up."""

    async def deaf(times: int) -> None:
        for _ in range(times):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    async def end(times: int, seconds: float) -> None:
        task = asyncio.create_task(deaf(times))
        await asyncio.sleep(0)
        try:
            await cancel(task, seconds)
        finally:
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)

    asyncio.run(end(2, 30))
    with pytest.raises(TimeoutError):
        asyncio.run(end(1000, 0.3))


def test_what_ended_a_listener_is_raised_at_the_end_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Completions(QueueSettings(), make_log("sender", "error"))

    async def broken() -> None:
        raise ValueError("as it came")

    async def block() -> None:
        async with found.subscribed():
            await asyncio.sleep(0)

    monkeypatch.setattr(found, "listen", broken)
    with pytest.raises(ValueError, match="as it came"):
        asyncio.run(block())
