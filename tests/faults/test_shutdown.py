"""SIGTERM: every process ends with 0 within its grace period, whatever it is at."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.faults.cluster import Cluster, stop_process
from tests.worker.support import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
GRACE = 30  # seconds: `stop_grace_period` of the services in docker-compose.yml
WORKERS_GRACE = 90  # what `ddsr up` gives; Compose and Kubernetes give 330


@pytest.mark.parametrize("name", ["sender", "receiver"])
def test_an_idle_service(cluster: Cluster, name: str) -> None:
    cluster.service(name)
    assert ended(cluster.youngest, GRACE) == 0


def ended(process: subprocess.Popen[bytes], seconds: float) -> int:
    """The exit code after SIGTERM."""
    process.terminate()
    return process.wait(seconds)


def test_a_service_whose_clients_wait_and_follow(staffed: Cluster) -> None:
    """They get ten seconds. Another replica tells them the rest."""
    url = staffed.service("sender")
    process = staffed.youngest
    job = staffed.submit("pause:0.3", steps=150)
    states: list[str] = []

    def follow() -> None:
        with httpx.stream("GET", f"{url}/jobs/{job}/events", timeout=60) as events:
            for line in lines_of(events):
                states.append(line)

    threads = [threading.Thread(target=follow), threading.Thread(target=ask, args=(f"{url}/jobs/{job}?wait=60",))]
    for thread in threads:
        thread.start()
    until(lambda: "event: running" in states, 60)
    assert ended(process, GRACE) == 0
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert staffed.delete(job).json()["state"] == "cancelled"


def lines_of(answer: httpx.Response) -> Iterator[str]:
    """The lines that came before the service went."""
    try:
        yield from answer.iter_lines()
    except httpx.TransportError:
        return


@contextmanager
def away(cluster: Cluster, how: str) -> Iterator[None]:
    """Redis is killed, or stands still with every connection open."""
    assert cluster.redis is not None
    if how == "killed":
        cluster.kill_redis()
    else:
        stop_process(cluster.redis)
    try:
        yield
    finally:
        cluster.kill_redis()
        cluster.start_redis()


@pytest.mark.parametrize("how", ["killed", "paused"])
def test_a_service_while_redis_is_away(cluster: Cluster, how: str) -> None:
    """Its threads ask Redis at that moment, and get no answer."""
    url = cluster.service("sender")
    process = cluster.youngest
    with away(cluster, how):
        askers = [threading.Thread(target=ask, args=(f"{url}/jobs/{'0' * 32}",)) for _ in range(4)]
        for asker in askers:
            asker.start()
        time.sleep(0.5)  # for their requests to reach Redis; earlier or later, the service must end
        assert ended(process, GRACE) == 0
        for asker in askers:
            asker.join(60)


def ask(url: str) -> None:
    try:
        httpx.get(url, timeout=60)
    except httpx.TransportError:
        return


@pytest.mark.parametrize("how", ["killed", "paused"])
def test_a_worker_while_redis_is_away(cluster: Cluster, how: str) -> None:
    cluster.dismiss()
    worker = cluster.start_worker()
    with away(cluster, how):
        assert ended(worker, WORKERS_GRACE) == 0


def test_a_worker_that_gets_ready(cluster: Cluster) -> None:
    """It waits for nobody yet."""
    cluster.dismiss()
    before = cluster.log("worker").count('"loaded"')
    worker = cluster.start_worker(ready=False)
    until(lambda: cluster.log("worker").count('"loaded"') > before or worker.poll() is not None, 60)
    assert ended(worker, WORKERS_GRACE) == 0
