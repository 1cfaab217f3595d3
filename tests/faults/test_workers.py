"""Workers that die, stall, or are told to go."""

import signal
import time
from collections.abc import Callable

import pytest

from tests.faults.house import House, stop_process
from tests.worker.support import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


def test_a_worker_killed_in_mid_batch(house: House) -> None:
    jobs = house.together("pause:0.3", "pause:0.3", "pause:0.3")
    house.running(*jobs)
    house.kill(house.staff())
    house.staff()
    assert [house.end(job) for job in jobs] == ["done"] * 3
    assert house.proves(jobs[0])
    assert [house.batches(job) for job in jobs] == [2] * 3
    assert not any("Traceback" in line for line in house.log("worker").splitlines() if any(job in line for job in jobs))


def test_a_worker_killed_between_dequeue_and_start(house: House) -> None:
    """It holds what it took for as long as it waits for company, and dies meanwhile."""
    house.dismiss()
    worker = house.start_worker(DDSR_BATCH_WINDOW="5")
    job = house.submit()
    with house.store() as store:
        until(lambda: store.lrange("rq:queue:ddsr:intermediate", 0, -1) == [job.encode()], 20)
    house.kill(worker)
    assert house.state(job) == "queued"
    house.staff()
    assert house.end(job) == "done"
    assert house.batches(job) == 1


def supervised(house: House, done: Callable[[], bool]) -> None:
    """A worker that is started again whenever it ends, until `done`; it stays as the standing one."""

    def look() -> bool:
        return house.staff().poll() is None and done()

    until(look, 90)


def test_a_job_that_kills_its_workers_ends_alone(house: House) -> None:
    """Its batch is tried again one by one; after the last attempt it fails, and the others have been done."""
    worker = house.staff()
    crash, *others = house.together("pause:0.2 crash", "a cat", "a dog")
    assert worker.wait(60) == -signal.SIGKILL
    supervised(house, lambda: house.state(crash) == "failed")
    assert [house.end(job) for job in others] == ["done", "done"]
    failed = house.job(crash, "/result")
    assert (failed.status_code, failed.json()["code"]) == (503, "worker-lost")
    assert house.job(crash).json()["error"]["code"] == "worker-lost"


@pytest.mark.parametrize(
    "late",
    [
        pytest.param(False, id="while the other computes"),
        pytest.param(True, id="after the other has finished", marks=pytest.mark.slow),
    ],
)
def test_a_stalled_worker_wakes_after_its_job_was_given_away(house: House, late: bool) -> None:
    stalled = house.staff()
    house.standing = None
    job = house.submit("pause:0.6")
    house.running(job)
    stop_process(stalled)
    house.staff()
    until(lambda: house.batches(job) == 2, 60)
    if late:
        assert house.end(job) == "done"
    stalled.send_signal(signal.SIGCONT)
    until(lambda: house.said("ended", job, outcome="dropped"), 60)
    assert house.end(job) == "done"
    assert house.proves(job)
    house.kill(stalled)


def test_sigterm_once_finishes_what_is_held_and_takes_nothing_new(house: House) -> None:
    house.dismiss()
    worker = house.start_worker(DDSR_BATCH_SIZE="1")
    held = house.submit("pause:0.3")
    house.running(held)
    waiting = house.submit()
    worker.terminate()
    assert worker.wait(60) == 0
    assert [house.state(job) for job in (held, waiting)] == ["done", "queued"]
    refused = house.post()
    assert (refused.status_code, refused.json()["code"]) == (503, "no-worker")
    house.staff()
    assert house.end(waiting) == "done"


@pytest.mark.slow
def test_sigterm_twice_leaves_the_job_to_another(house: House) -> None:
    worker = house.staff()
    job = house.submit("pause:0.5", steps=20)
    house.running(job)
    worker.terminate()
    while worker.poll() is None:  # the second within a second of the first counts as the same
        time.sleep(1.1)
        worker.terminate()
    assert house.state(job) == "running"
    house.staff()
    until(lambda: house.batches(job) == 2, 60)
    assert house.delete(job).json()["state"] == "cancelled"


def test_no_live_worker(house: House) -> None:
    worker = house.staff()
    stop_process(worker)
    accepted = house.submit()
    until(lambda: house.client.get(f"{house.sender}/readyz").status_code == 503, 20)
    refused = house.post()
    assert (refused.status_code, refused.json()["code"]) == (503, "no-worker")
    assert int(refused.headers["Retry-After"]) > 0
    assert house.state(accepted) == "queued"
    house.dismiss()
    house.staff()
    assert house.end(accepted) == "done"


@pytest.mark.slow
def test_nobody_ever_comes(house: House) -> None:
    """A job that waited too long ends as `expired`; one that was begun in time may take as long as it likes."""
    impatient = house.replica("impatient", DDSR_QUEUE_TTL="3")
    house.dismiss()
    with house.worker(DDSR_BATCH_SIZE="1"):
        begun = house.submit("pause:1.2", url=impatient)
        house.running(begun)
        waiting = house.submit("a dog", url=impatient)
        assert house.end(waiting) == "expired"
        assert house.job(waiting, "/result").json()["code"] == "job-gone"
        assert house.end(begun) == "done"
        assert house.proves(begun)
