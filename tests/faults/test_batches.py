"""One job of a batch goes wrong, or memory does: the others are none the worse."""

import pytest

from tests.faults.cluster import Cluster
from tests.worker.support import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


def test_a_poisoned_job_fails_alone(staffed: Cluster) -> None:
    jobs = staffed.together("a cat", "poison", "too long", "a dog")
    assert [staffed.end(job) for job in jobs] == ["done", "failed", "failed", "done"]
    assert staffed.batches(*jobs) == 1
    assert staffed.proves(jobs[3])
    for job, code, status in ((jobs[1], "computation-failed", 500), (jobs[2], "prompt-too-long", 422)):
        answer = staffed.job(job, "/result")
        assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_out_of_memory_halves_the_batch(staffed: Cluster) -> None:
    jobs = staffed.together("big", "big", "big", "big")
    assert [staffed.end(job) for job in jobs] == ["done"] * 4
    assert staffed.batches(*jobs) == 1
    assert staffed.proves(jobs[3])
    until(lambda: '"error": "MemoryError"' in staffed.log("worker"), 10)
