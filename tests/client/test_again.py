"""Trying again, against what really goes wrong: no worker, a full queue, a limit, a cut connection, a dead worker."""

import asyncio
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import pytest

from ddsr_client import (
    AsyncClient,
    Client,
    ConnectionFailed,
    IdempotencyMismatch,
    JobFailed,
    Picture,
    RateLimited,
    Retry,
    Secret,
    Unavailable,
    UnexpectedAnswer,
)
from services.sender.app import SenderSettings, create_app
from shared.jobs import scripts as records
from stack.redis_server import RedisServer
from tests.client.conftest import EAGER, Addresses
from tests.pictures import encoded, pixels
from tests.services.conftest import face, wait_until
from tests.services.live import live
from tests.worker.support import announce, make_store, queue_settings, worker_process

SECRET = Secret("the red kite over Ullapool")
QUICK = "a photo of an old man"
_RECORD = re.compile(records.record_key("[0-9a-f]{32}"))
PATIENT = Retry(tries=30, first=0.05, longest=0.5)


@contextmanager
def sender(server: RedisServer, settings: dict[str, Any] | None = None, **queue: Any) -> Iterator[str]:
    app = create_app(SenderSettings(**{"rate_limit": "", **(settings or {})}), queue_settings(server, **queue))
    with live(app) as url:
        yield url


@contextmanager
def meanwhile(call: Callable[[], Picture]) -> Iterator[Future[Picture]]:
    """The call in a thread; it has ended when the block is left."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(call)


def jobs_in(server: RedisServer) -> int:
    with server.client() as connection:
        return sum(_RECORD.fullmatch(name.decode()) is not None for name in connection.scan_iter())


def tries_again(caplog: pytest.LogCaptureFixture, code: str) -> Callable[[], bool]:
    return lambda: any(code in record.getMessage() for record in caplog.records if record.name == "ddsr_client")


def test_waits_for_a_worker_to_come(own_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """A real 503 with `Retry-After`, and then an answer."""
    caplog.set_level(logging.INFO, logger="ddsr_client")
    with sender(own_server) as url, Client(url, url, retry=Retry(tries=0)) as hasty:
        with pytest.raises(Unavailable, match="no-worker") as caught:
            hasty.hide(encoded(face()), SECRET, QUICK)
        assert caught.value.status == 503
        assert caught.value.retry_after
        patient = Client(url, url, retry=PATIENT, timeout=100)
        with meanwhile(lambda: patient.hide(encoded(face()), SECRET, QUICK)) as stego:
            wait_until(tries_again(caplog, "no-worker"), bool)
            with worker_process(own_server):
                assert stego.result(90).recipe
        patient.close()
    assert jobs_in(own_server) == 1


def test_a_dead_worker_costs_time_and_no_second_job(own_server: RedisServer) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(sender(own_server))
        first = stack.enter_context(worker_process(own_server))
        store = make_store(own_server)
        wait_until(store.health, lambda health: health.trouble is None)
        client = stack.enter_context(Client(url, url, retry=PATIENT, timeout=100))
        running = threading.Event()

        def progress(job: Any) -> None:
            if job.step:
                running.set()

        call = partial(client.hide, encoded(face()), SECRET, f"{QUICK} pause:0.3", progress=progress)
        stego = stack.enter_context(meanwhile(call))
        assert running.wait(60)
        first.kill()
        stack.enter_context(worker_process(own_server))
        assert stego.result(90).recipe
    assert jobs_in(own_server) == 1


def test_a_lost_worker_is_not_tried_again(own_server: RedisServer) -> None:
    """503 `worker-lost` means that the job has ended: asking again would give the same answer for ever."""
    announce(own_server)
    with sender(own_server) as url, Client(url, url, retry=PATIENT, timeout=100) as client:
        handle = client.submit_hide(encoded(face()), SECRET, QUICK)
        with own_server.client() as connection:
            lost = {"state": "failed", "error_code": "worker-lost"}  # as the reaper leaves it
            connection.hset(records.record_key(handle.id), mapping=lost)
        with pytest.raises(JobFailed, match="worker-lost") as caught:
            handle.result()
    assert caught.value.status == 503
    assert not caught.value.retryable


def test_a_full_queue_and_a_rate_limit(own_server: RedisServer) -> None:
    """Both say when to come back."""
    announce(own_server)
    limits = {"rate_limit": "2/hour"}
    with sender(own_server, limits, queue_limit=1) as url, Client(url, url, retry=Retry(tries=0)) as client:
        client.submit_hide(encoded(face()), SECRET, QUICK)
        with pytest.raises(Unavailable, match="queue-full") as full:
            client.submit_hide(encoded(face()), SECRET, QUICK)
        with pytest.raises(RateLimited) as limit:
            client.submit_hide(encoded(face()), SECRET, QUICK)
    assert full.value.retry_after == 10
    assert limit.value.retry_after is not None
    assert limit.value.retry_after > 60
    assert jobs_in(own_server) == 1


class Cutter:
    """A channel that passes bytes on and cuts the connections that it is told to.

    `cut` decides by the first bytes of a connection; what the client has sent gets through, the answer does not.
    """

    def __init__(self, target: str, cut: Callable[[bytes], bool]) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._cut = cut
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server, suppress(OSError):
            back = threading.Thread(target=self._back, args=(server, client), daemon=True)
            back.start()
            while data := client.recv(65536):
                self._doomed = self._doomed or self._cut(data)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if self._doomed:
                    self._doomed = False
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)

    _doomed = False


@contextmanager
def cutter(target: str, cut: Callable[[bytes], bool]) -> Iterator[Cutter]:
    found = Cutter(target, cut)
    yield found
    found.close()


class First:
    """True for the first `count` pieces that hold `mark`."""

    def __init__(self, mark: bytes, count: int = 1) -> None:
        self._mark, self._left = mark, count

    def __call__(self, data: bytes) -> bool:
        hit = self._mark in data and self._left > 0
        self._left -= hit
        return hit


@pytest.mark.parametrize("mark", [b"POST /hide", b"GET /jobs/", b"/result"])
def test_a_lost_answer_makes_no_second_job(services: Addresses, shared_server: RedisServer, mark: bytes) -> None:
    """The request arrives, its answer does not: the next try finds the same job, whatever was lost."""
    before = jobs_in(shared_server)
    with (
        cutter(services.sender, First(mark, 2)) as channel,
        Client(channel.url, services.receiver, retry=EAGER) as client,
    ):
        stego = client.hide(encoded(face()), SECRET, f"{QUICK} pause:0.1")
        assert channel.cuts == 2
    assert jobs_in(shared_server) == before + 1
    with services.client() as whole:
        assert np.array_equal(pixels(whole.recover(stego, SECRET).data), face())


def test_a_lost_answer_makes_no_second_job_async(services: Addresses, shared_server: RedisServer) -> None:
    before = jobs_in(shared_server)

    async def run(url: str) -> Picture:
        async with AsyncClient(url, services.receiver, retry=EAGER) as client:
            return await client.hide(encoded(face()), SECRET, QUICK)

    with cutter(services.sender, First(b"POST /hide", 2)) as channel:
        assert asyncio.run(run(channel.url)).recipe
        assert channel.cuts == 2
    assert jobs_in(shared_server) == before + 1


def test_a_broken_event_stream_is_opened_again(services: Addresses) -> None:
    seen = []
    with cutter(services.sender, First(b"/events", 2)) as channel, Client(channel.url, retry=EAGER) as client:
        handle = client.submit_hide(encoded(face()), SECRET, f"{QUICK} pause:0.2")
        seen = list(handle.events())
        assert channel.cuts == 2
    assert seen[-1].state == "done"
    assert len(set(seen)) == len(seen)


def test_a_key_of_ones_own_gives_the_first_job_back(services: Addresses) -> None:
    with services.client() as client:
        first = client.hide(encoded(face()), SECRET, QUICK, idempotency_key="mine-1")
        again = client.hide(encoded(face()), SECRET, QUICK, idempotency_key="mine-1")
        assert again.data == first.data
        assert again.job_id == first.job_id
        handle = client.submit_hide(encoded(face()), SECRET, QUICK, idempotency_key="mine-1")
        assert (handle.id, handle.result().data) == (first.job_id, first.data)
        with pytest.raises(IdempotencyMismatch):
            client.hide(encoded(face(seed=1)), SECRET, QUICK, idempotency_key="mine-1")


def test_joins_a_job_in_flight(services: Addresses) -> None:
    with services.client() as client:
        slow = f"{QUICK} pause:0.2"
        one, two = (client.submit_hide(encoded(face()), SECRET, slow, idempotency_key="mine-2") for _ in range(2))
        assert one.id == two.id
        assert one.result().data == two.result().data


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with (
        Client(url, url, retry=Retry(tries=2, first=0.01)) as client,
        pytest.raises(ConnectionFailed, match="ConnectError"),
    ):
        client.hide(encoded(face()), SECRET, QUICK)


def test_somebody_else_is_there(services: Addresses) -> None:
    """Another program's answers: a redirect is not followed, a page is no picture."""
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse, RedirectResponse

    app = FastAPI(openapi_url=None)
    app.post("/hide")(lambda: RedirectResponse(f"{services.sender}/hide", 307))
    app.post("/recover")(lambda: HTMLResponse("<h1>Bad gateway</h1>", 502))
    with live(app) as url, Client(url, url, retry=Retry(tries=1, first=0.01)) as client:
        with pytest.raises(UnexpectedAnswer, match="307"):
            client.hide(encoded(face()), SECRET, QUICK)
        with pytest.raises(UnexpectedAnswer, match="502") as caught:
            client.recover(encoded(face()), SECRET)
        assert caught.value.retryable


def test_one_store_of_jobs(services: Addresses, shared_server: RedisServer) -> None:
    """`jobs_in` counts what it says."""
    with services.client() as client:
        before = jobs_in(shared_server)
        client.hide(encoded(face()), SECRET, QUICK)
        assert jobs_in(shared_server) == before + 1
