"""Forged and failing members of a batch, on a real worker: each ends alone, and nobody decides for the others."""

import json
from pathlib import Path

import numpy as np
import pytest

from shared.envelope import PublicKey, seal
from shared.errors import EnvelopeError, JobTimeout
from shared.jobs import JobStore
from shared.jobs import scripts as records
from shared.jobs.model import HideRequest, unpack_request
from shared.recipe import Recipe
from stack.redis_server import RedisServer
from tests.worker.support import (
    OWNER,
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


def forge(server: RedisServer, job_id: str, request: HideRequest, reply_key: str | None = None) -> None:
    """Put another request in the place of a queued one, as whoever writes to Redis can."""
    keys = announce(server)
    data = request.pack(reply_key or keys.current.public.to_text())
    sealed = seal(data, keys.public_keys, records.request_context("hide", job_id))
    server.client().set(records.request_key(job_id), sealed, ex=600)


def batches(log: Path) -> list[list[str]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line["jobs"] for line in lines if line["event"] == "batch"]


def ends(store: JobStore, *job_ids: str) -> list[tuple[str, str | None]]:
    views = [ended(store, job_id) for job_id in job_ids]
    return [(view.state, view.error_code) for view in views]


def test_a_record_does_not_decide_with_whom_a_request_is_computed(server: RedisServer, tmp_path: Path) -> None:
    """A forged `batch` beside the seal, and inside it other steps, another scheme, or a picture of another size."""
    announce(server)
    store, client, log = make_store(server), server.client(), tmp_path / "log"
    first, unkeyed, *victims = (
        store.submit("hide", hide_request(seed=i, prompt=f"p{i}"), owner=OWNER).id for i in range(4)
    )
    forge(server, first, hide_request(steps=3))
    forge(server, unkeyed, hide_request(scheme="matched"))
    record = client.hget(records.record_key(victims[0]), "batch")
    assert client.hget(records.record_key(first), "batch") == record
    with worker_process(server, log=log, DDSR_BATCH_SIZE="4"):
        assert ends(store, first, unkeyed, *victims) == [
            ("done", None),
            ("failed", "envelope-error"),
            ("done", None),
            ("done", None),
        ]
        assert batches(log) == [[first], victims]
        for i, victim in enumerate(victims, 2):
            hidden = store.result(victim, owner=OWNER)
            recipe = Recipe.from_text(hidden.recipe or "")
            assert (recipe.scheme, recipe.steps) == ("keyed", 5)
            back = store.submit("recover", recover_request(hidden.picture, hidden.recipe, prompt=f"p{i}"), owner=OWNER)
            assert ends(store, back.id) == [("done", None)]
            assert np.array_equal(pixels(store.result(back.id, owner=OWNER).picture), face(i))


@pytest.mark.parametrize("changes", [{"scheme": "matched"}, {"channel": "pigeon"}, {"solver": ""}, {"steps": 0}])
def test_what_no_service_asks_for_is_refused(changes: dict[str, object]) -> None:
    unpack_request("hide", hide_request().pack("ab"))
    with pytest.raises(EnvelopeError):
        unpack_request("hide", hide_request(**changes).pack("ab"))


def test_a_cancelled_job_leaves_the_others_of_its_batch_alone(server: RedisServer, tmp_path: Path) -> None:
    """The poisoned one makes the batch be halved until the cancelled one is computed alone."""
    announce(server)
    store, log = make_store(server), tmp_path / "log"
    texts = ["pause:0.4 a cat", "poison", "a dog", "a hen"]
    jobs = [store.submit("hide", hide_request(text, seed=i), owner=OWNER).id for i, text in enumerate(texts)]
    with worker_process(server, log=log, DDSR_BATCH_SIZE="4"):
        until(lambda: store.view(jobs[0], owner=OWNER).step)
        assert store.cancel(jobs[0], owner=OWNER).state == "cancelled"
        assert ends(store, *jobs) == [
            ("cancelled", None),
            ("failed", "computation-failed"),
            ("done", None),
            ("done", None),
        ]
        until(lambda: '"outcome": "dropped"' in log.read_text())
    assert batches(log) == [jobs]


def test_a_forged_job_fails_alone_and_ends_no_worker(server: RedisServer, tmp_path: Path) -> None:
    """A reply key with which everybody shares the same secret; a time that is none; records of another type."""
    announce(server)
    store, client, log = make_store(server), server.client(), tmp_path / "log"
    zeros, timeless, typeless, requestless, good = (
        store.submit("hide", hide_request(seed=i), owner=OWNER).id for i in range(5)
    )
    forge(server, zeros, hide_request(), PublicKey(bytes(32)).to_text())
    client.hset(records.record_key(timeless), "created", "never")
    client.delete(records.record_key(typeless), records.request_key(requestless))
    client.rpush(records.record_key(typeless), "not a hash")
    client.rpush(records.request_key(requestless), "not a string")
    with worker_process(server, log=log, DDSR_BATCH_SIZE="5") as process:
        assert ends(store, good) == [("done", None)]
        assert ends(store, zeros, requestless) == [("failed", "envelope-error")] * 2
        assert store.health().redis
        until(lambda: client.hget(records.record_key(timeless), "state") == b"failed")
        until(lambda: not client.exists("rq:queue:ddsr:intermediate"))
        assert ends(store, store.submit("hide", hide_request(), owner=OWNER).id) == [("done", None)]
        assert process.poll() is None
    assert batches(log)[0] == [zeros, good]


def test_records_that_change_their_type_under_a_computation(server: RedisServer) -> None:
    announce(server)
    store, client = make_store(server), server.client()
    broken, good = (store.submit("hide", hide_request("pause:0.3", seed=i), owner=OWNER).id for i in range(2))
    with worker_process(server):
        until(lambda: store.view(broken, owner=OWNER).step)
        client.delete(records.record_key(broken))
        client.rpush(records.record_key(broken), "not a hash")
        assert ends(store, good) == [("done", None)]
        assert store.view(good, owner=OWNER).step == 5
        until(lambda: not client.exists("rq:queue:ddsr:intermediate"))


def test_a_step_that_never_ends_is_a_timeout(server: RedisServer) -> None:
    """The alarm is no error of the computation; what was finished before it is kept."""
    announce(server)
    store = make_store(server, job_timeout=1)
    texts = ["a cat", "poison", "pause:600", "pause:600"]
    jobs = [store.submit("hide", hide_request(text, seed=i), owner=OWNER).id for i, text in enumerate(texts)]
    with worker_process(server, DDSR_BATCH_SIZE="4", DDSR_JOB_TIMEOUT="1"):
        assert ends(store, *jobs) == [
            ("done", None),
            ("failed", "computation-failed"),
            ("failed", JobTimeout.code),
            ("failed", JobTimeout.code),
        ]
        assert ends(store, store.submit("hide", hide_request(), owner=OWNER).id) == [("done", None)]
