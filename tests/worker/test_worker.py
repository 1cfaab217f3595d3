"""A real worker process on a real Redis, with the arithmetic core."""

import json
import signal
from pathlib import Path

import httpx
import numpy as np
import pytest
from rq import Callback, Queue
from rq.serializers import JSONSerializer

from shared.errors import ComputationFailed, JobCancelled, JobGone, JobNotReady, PromptTooLong
from shared.jobs import scripts as records
from stack.redis_server import RedisServer
from stack.temporary import free_ports
from tests.worker.support import (
    OWNER,
    ROOT,
    announce,
    ended,
    face,
    hide_request,
    make_store,
    pixels,
    recover_request,
    until,
    worker_process,
)


def test_hide_and_recover(server: RedisServer) -> None:
    store = make_store(server, first_read_ttl=1)
    (port,) = free_ports(1)
    with worker_process(server, DDSR_METRICS_PORT=str(port)):
        until(lambda: store.health().trouble is None)
        assert store.workers()[0].image_size == 32
        view = store.submit("hide", hide_request(), owner=OWNER)
        created = view.created
        view = ended(store, view.id)
        assert view.state == "done"
        assert (view.step, view.steps, view.attempts) == (5, 5, 1)
        hidden = store.result(view.id, owner=OWNER)
        assert hidden.media_type == "image/png"
        assert not np.array_equal(pixels(hidden.picture), face())
        found = {}
        for prompt in ("the prompt", "another prompt"):
            request = recover_request(hidden.picture, hidden.recipe, prompt=prompt)
            job = store.submit("recover", request, owner=OWNER)
            assert ended(store, job.id).state == "done"
            found[prompt] = pixels(store.result(job.id, owner=OWNER).picture)
        assert np.array_equal(found["the prompt"], face())
        assert not np.array_equal(found["another prompt"], face())
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert 'ddsr_worker_jobs_total{kind="recover",outcome="done"} 2.0' in metrics
        assert "ddsr_queue_depth 0.0" in metrics
        beat = float(metrics.partition("\nddsr_worker_heartbeat_timestamp_seconds ")[2].split()[0])
        assert created - 60 <= beat  # it beats every so often, not at every job
        assert view.id not in metrics
        until(lambda: store.view(view.id, owner=OWNER).state == "expired")
        with pytest.raises(JobGone):
            store.result(view.id, owner=OWNER)


def test_batches_isolate_the_poisoned(server: RedisServer, tmp_path: Path) -> None:
    announce(server)
    store = make_store(server)
    texts = ["a cat", "poison", "a dog", "too long"]
    jobs = [store.submit("hide", hide_request(text, seed=i), owner=OWNER) for i, text in enumerate(texts)]
    other = store.submit("hide", hide_request(steps=3), owner=OWNER)
    log = tmp_path / "log"
    with worker_process(server, log=log, DDSR_BATCH_SIZE="5", DDSR_BATCH_WINDOW="0"):
        ends = [ended(store, job.id) for job in [*jobs, other]]
    assert [view.state for view in ends] == ["done", "failed", "done", "failed", "done"]
    assert [view.attempts for view in ends] == [1] * 5
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["jobs"] for line in lines if line["event"] == "batch"] == [[job.id for job in jobs], [other.id]]
    with pytest.raises(ComputationFailed) as failed:
        store.result(jobs[1].id, owner=OWNER)
    assert "the prompt" not in str(failed.value)
    with pytest.raises(PromptTooLong):
        store.result(jobs[3].id, owner=OWNER)


def test_cancel_while_running(server: RedisServer) -> None:
    store = make_store(server)
    with worker_process(server):
        until(lambda: store.health().trouble is None)
        job = store.submit("hide", hide_request("pause:0.4", steps=500), owner=OWNER)
        until(lambda: store.view(job.id, owner=OWNER).step)
        with pytest.raises(JobNotReady):
            store.result(job.id, owner=OWNER)
        assert store.cancel(job.id, owner=OWNER).state == "cancelled"
        after = store.submit("hide", hide_request(), owner=OWNER)
        assert ended(store, after.id).state == "done"
        with pytest.raises(JobCancelled):
            store.result(job.id, owner=OWNER)


def test_sigterm_finishes_what_it_holds(server: RedisServer) -> None:
    store = make_store(server)
    with worker_process(server) as process:
        until(lambda: store.health().trouble is None)
        job = store.submit("hide", hide_request("pause:0.2"), owner=OWNER)
        until(lambda: store.view(job.id, owner=OWNER).step)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        assert store.view(job.id, owner=OWNER).state == "done"
        assert not store.health().workers


def test_sigkill_in_mid_batch(server: RedisServer, tmp_path: Path) -> None:
    announce(server)
    store = make_store(server)
    log = tmp_path / "log"
    jobs = [store.submit("hide", hide_request("pause:0.3", seed=i), owner=OWNER) for i in range(4)]
    with worker_process(server) as first:
        until(lambda: all(store.view(job.id, owner=OWNER).step for job in jobs))
        first.kill()
        first.wait(10)
    with worker_process(server, log=log):
        ends = [ended(store, job.id) for job in jobs]
        client = server.client()
    assert [(view.state, view.attempts) for view in ends] == [("done", 2)] * 4
    assert not client.exists("ddsr:leases", "rq:queue:ddsr", "rq:queue:ddsr:intermediate")
    text = log.read_text()
    assert "skipped" not in text, "each job comes back once"
    assert "Traceback" not in text


def test_a_job_that_kills_every_worker_ends(server: RedisServer) -> None:
    store = make_store(server, retries=1)
    job = None
    for _ in range(2):
        with worker_process(server, DDSR_RETRIES="1") as process:
            if job is None:
                until(lambda: store.health().trouble is None)
                job = store.submit("hide", hide_request("crash"), owner=OWNER)
            assert process.wait(120) == -signal.SIGKILL
    with worker_process(server, DDSR_RETRIES="1"):
        assert job is not None
        view = ended(store, job.id)
    assert (view.state, view.error_code) == ("failed", "worker-lost")


def test_two_workers_share_the_load(server: RedisServer) -> None:
    store = make_store(server)
    keys = {"DDSR_WORKER_KEYS": str(server.folder / "keys" / "elsewhere"), "DDSR_BATCH_SIZE": "1"}
    with worker_process(server, DDSR_BATCH_SIZE="1"), worker_process(server, **keys):
        until(lambda: len(store.health().trusted) == 2)
        assert len({worker.public_key for worker in store.health().trusted}) == 2
        jobs = [store.submit("hide", hide_request("pause:0.05", seed=i), owner=OWNER) for i in range(8)]
        assert all(ended(store, job.id).state == "done" for job in jobs)
        client = server.client()
        names = {client.hget(f"ddsr:job:{job.id}", "worker") for job in jobs}
    assert len(names) == 2


def test_redis_killed_in_mid_job(own_server: RedisServer) -> None:
    store = make_store(own_server)
    with worker_process(own_server, DDSR_BATCH_SIZE="1"):
        until(lambda: store.health().trouble is None)
        jobs = [store.submit("hide", hide_request("pause:0.3", seed=i), owner=OWNER) for i in range(2)]
        until(lambda: store.view(jobs[0].id, owner=OWNER).step)
        own_server.stop(kill=True)
        assert not store.health().redis
        own_server.start()
        with worker_process(own_server):  # as a supervisor would, should the first one have given up
            ends = [ended(store, job.id) for job in jobs]
    assert [view.state for view in ends] == ["done", "done"]
    for job in jobs:
        assert store.result(job.id, owner=OWNER).picture


def test_no_function_runs(server: RedisServer, tmp_path: Path) -> None:
    store = make_store(server)
    wire = tmp_path / "wire"
    with worker_process(server):
        until(lambda: store.health().trouble is None)
        queue = Queue("ddsr", connection=server.client(), serializer=JSONSerializer)
        name = "tests.worker.support.tripwire"
        queue.enqueue(name, str(wire), job_id="a" * 32)
        queue.enqueue(name, str(wire), job_id="b" * 32, on_success=Callback(name))
        job = store.submit("hide", hide_request(), owner=OWNER)
        assert ended(store, job.id).state == "done"
    assert not wire.exists()
    assert not (ROOT / "tripped").exists()
    assert not server.client().exists("rq:queue:ddsr", "rq:queue:ddsr:intermediate")


def test_an_id_taken_but_never_begun_is_queued_again(server: RedisServer) -> None:
    announce(server)
    store = make_store(server)
    job = store.submit("hide", hide_request(), owner=OWNER)
    server.client().lmove("rq:queue:ddsr", "rq:queue:ddsr:intermediate")
    with worker_process(server):
        assert ended(store, job.id).state == "done"


def test_a_job_sealed_to_others_waits_for_them(server: RedisServer) -> None:
    announce(server)
    store = make_store(server)
    early = store.submit("hide", hide_request(), owner=OWNER)
    with worker_process(server, DDSR_WORKER_KEYS=str(server.folder / "keys" / "newcomer")):
        until(lambda: len(store.health().trusted) == 2)
        late = store.submit("hide", hide_request(), owner=OWNER)
        assert ended(store, late.id).state == "done"
        assert store.view(early.id, owner=OWNER).state == "queued"
        with worker_process(server):
            assert ended(store, early.id).state == "done"


def test_a_worker_of_another_model_does_not_join(server: RedisServer, tmp_path: Path) -> None:
    """Nor does it wait for long: what a worker that is gone had announced would have been forgotten."""
    log = tmp_path / "log"
    announced = {
        "name": "w9",
        "public_key": announce(server).current.public.to_text(),
        "model": "b" * 16,
        "image_size": 32,
    }
    server.client().set(records.worker_key("w9"), json.dumps(announced))
    server.client().sadd(records.WORKERS, "w9")
    with worker_process(server, log=log) as process:
        assert process.wait(60) == 1
    (line,) = [line for line in log.read_text().splitlines() if "cannot work" in line]
    assert "b" * 16 in line
    assert "another database in REDIS_URL" in line
    server.client().delete(records.worker_key("w9"))
    with worker_process(server):
        until(lambda: len(make_store(server).health().trusted) == 2)
