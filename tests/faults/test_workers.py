"""Workers that die, stall, or are told to go."""

import signal
import time
from collections.abc import Callable

import pytest

from tests.faults.cluster import Cluster, stop_process
from tests.worker.support import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


def test_a_worker_killed_in_mid_batch(cluster: Cluster) -> None:
    jobs = cluster.together("pause:0.3", "pause:0.3", "pause:0.3")
    cluster.running(*jobs)
    cluster.kill(cluster.staff())
    cluster.staff()
    assert [cluster.end(job) for job in jobs] == ["done"] * 3
    assert cluster.proves(jobs[0])
    assert [cluster.batches(job) for job in jobs] == [2] * 3
    assert not any(
        "Traceback" in line for line in cluster.log("worker").splitlines() if any(job in line for job in jobs)
    )


def test_a_worker_killed_between_dequeue_and_start(cluster: Cluster) -> None:
    """It holds what it took for as long as it waits for company, and dies meanwhile."""
    cluster.dismiss()
    worker = cluster.start_worker(DDSR_BATCH_WINDOW="5")
    job = cluster.submit()
    with cluster.store() as store:
        until(lambda: store.lrange("rq:queue:ddsr:intermediate", 0, -1) == [job.encode()], 20)
    cluster.kill(worker)
    assert cluster.state(job) == "queued"
    cluster.staff()
    assert cluster.end(job) == "done"
    assert cluster.batches(job) == 1


def supervised(cluster: Cluster, done: Callable[[], bool]) -> None:
    """A worker that is started again whenever it ends, until `done`; it stays as the standing one."""

    def look() -> bool:
        return cluster.staff().poll() is None and done()

    until(look, 90)


def test_a_job_that_kills_its_workers_ends_alone(cluster: Cluster) -> None:
    """Its batch is tried again one by one; after the last attempt it fails, and the others have been done."""
    worker = cluster.staff()
    crash, *others = cluster.together("pause:0.2 crash", "a cat", "a dog")
    assert worker.wait(60) == -signal.SIGKILL
    supervised(cluster, lambda: cluster.state(crash) == "failed")
    assert [cluster.end(job) for job in others] == ["done", "done"]
    failed = cluster.job(crash, "/result")
    assert (failed.status_code, failed.json()["code"]) == (503, "worker-lost")
    assert cluster.job(crash).json()["error"]["code"] == "worker-lost"


@pytest.mark.parametrize(
    "late",
    [
        pytest.param(False, id="while the other computes"),
        pytest.param(True, id="after the other has finished", marks=pytest.mark.slow),
    ],
)
def test_a_stalled_worker_wakes_after_its_job_was_given_away(cluster: Cluster, late: bool) -> None:
    stalled = cluster.staff()
    cluster.standing = None
    job = cluster.submit("pause:0.6")
    cluster.running(job)
    stop_process(stalled)
    cluster.staff()
    until(lambda: cluster.batches(job) == 2, 60)
    if late:
        assert cluster.end(job) == "done"
    stalled.send_signal(signal.SIGCONT)
    until(lambda: cluster.said("ended", job, outcome="dropped"), 60)
    assert cluster.end(job) == "done"
    assert cluster.proves(job)
    cluster.kill(stalled)


def test_sigterm_once_finishes_what_is_held_and_takes_nothing_new(cluster: Cluster) -> None:
    cluster.dismiss()
    worker = cluster.start_worker(DDSR_BATCH_SIZE="1")
    held = cluster.submit("pause:0.3")
    cluster.running(held)
    waiting = cluster.submit()
    worker.terminate()
    assert worker.wait(60) == 0
    assert [cluster.state(job) for job in (held, waiting)] == ["done", "queued"]
    refused = cluster.post()
    assert (refused.status_code, refused.json()["code"]) == (503, "no-worker")
    cluster.staff()
    assert cluster.end(waiting) == "done"


@pytest.mark.slow
def test_sigterm_twice_leaves_the_job_to_another(cluster: Cluster) -> None:
    worker = cluster.staff()
    job = cluster.submit("pause:0.5", steps=20)
    cluster.running(job)
    worker.terminate()
    while worker.poll() is None:  # the second within a second of the first counts as the same
        time.sleep(1.1)
        worker.terminate()
    assert cluster.state(job) == "running"
    cluster.staff()
    until(lambda: cluster.batches(job) == 2, 60)
    assert cluster.delete(job).json()["state"] == "cancelled"


def test_no_live_worker(cluster: Cluster) -> None:
    worker = cluster.staff()
    stop_process(worker)
    accepted = cluster.submit()
    until(lambda: cluster.client.get(f"{cluster.sender}/readyz").status_code == 503, 20)
    refused = cluster.post()
    assert (refused.status_code, refused.json()["code"]) == (503, "no-worker")
    assert int(refused.headers["Retry-After"]) > 0
    assert cluster.state(accepted) == "queued"
    cluster.dismiss()
    cluster.staff()
    assert cluster.end(accepted) == "done"


@pytest.mark.slow
def test_nobody_ever_comes(cluster: Cluster) -> None:
    """A job that waited too long ends as `expired`; one that was begun in time may take as long as it likes."""
    impatient = cluster.replica("impatient", DDSR_QUEUE_TTL="3")
    cluster.dismiss()
    with cluster.worker(DDSR_BATCH_SIZE="1"):
        begun = cluster.submit("pause:1.2", url=impatient)
        cluster.running(begun)
        waiting = cluster.submit("a dog", url=impatient)
        assert cluster.end(waiting) == "expired"
        assert cluster.job(waiting, "/result").json()["code"] == "job-gone"
        assert cluster.end(begun) == "done"
        assert cluster.proves(begun)
