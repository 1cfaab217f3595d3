"""The contract of jobs on a real Redis, with workers that are only announced."""

import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import ValidationError

from shared.envelope import Keyring, PrivateKey
from shared.errors import (
    EnvelopeError,
    IdempotencyConflict,
    IdempotencyMismatch,
    JobCancelled,
    JobGone,
    JobNotFound,
    JobNotReady,
    KeyFileError,
    NoWorker,
    QueueFull,
    QueueUnavailable,
    WorkerLost,
)
from shared.imaging import encode_picture
from shared.jobs import IdempotencyClaim, JobPage, JobResult, JobStore, Kind, State, open_redis
from shared.jobs import scripts as records
from shared.jobs.connection import remedy
from shared.jobs.due import DueWebhooks
from shared.jobs.ids import issued, make_id
from shared.jobs.lease import Lease, OpenJob
from shared.jobs.model import CURSOR, HideRequest
from shared.recipe import Recipe
from stack.redis_server import RedisServer
from tests.worker.support import OWNER, announce, face, hide_request, make_store, queue_settings, recover_request

OPERATIONS = (Path(__file__).parents[2] / "docs/operations.md").read_text()
RECIPE = Recipe("a" * 16, "keyed", "sum", 5, "a cat", bytes(16)).to_text()


def make_lease(server: RedisServer, keys: Keyring | None = None, **changes: Any) -> Lease:
    settings = queue_settings(server, **changes)
    keys = keys or Keyring.load_or_create(server.folder / "keys" / "worker")
    return Lease(server.client(), settings, keys, worker="w1", seconds=60)


def take(lease: Lease, job_id: str) -> OpenJob:
    """What a worker does with an id out of the queue."""
    (waiting,) = lease.look([job_id])
    taken = lease.take(waiting)
    assert taken.state == "taken"
    return lease.open(waiting, taken.execution)


def taken_as(lease: Lease, job_id: str) -> str:
    """What the record says to a worker that would take the job."""
    return lease.take(lease.look([job_id])[0]).state


def abandon(server: RedisServer, *job_ids: str) -> None:
    """As if nothing had been heard of these jobs for too long."""
    server.client().zadd(records.LEASES, dict.fromkeys(job_ids, 0))


def reap_abandoned(server: RedisServer, lease: Lease, job_id: str) -> list[str]:
    """What becomes of a running job whose worker is silent at two looks."""
    abandon(server, job_id)
    assert lease.reap(60) == []
    abandon(server, job_id)
    return [job.state for job in lease.reap(60)]


def test_a_job_from_end_to_end(server: RedisServer) -> None:
    announce(server)
    store, lease = make_store(server), make_lease(server)
    view = store.submit("hide", hide_request(steps=7), owner=OWNER)
    assert (view.state, view.position, view.kind) == ("queued", 1, "hide")
    assert store.submit("hide", hide_request(), owner=OWNER).position == 2
    job = take(lease, view.id)
    assert isinstance(job.request, HideRequest)
    assert job.request.identity_prompt.get_secret_value() == "the prompt"
    assert job.request.steps == 7
    assert (job.request.picture.to_array() == face()).all()
    assert lease.progress([job], 3, 7) == [True]
    assert store.view(view.id, owner=OWNER).step == 3
    with pytest.raises(JobNotReady):
        store.result(view.id, owner=OWNER)
    assert lease.done(job, JobResult(b"picture", "image/png", "recipe", 1.5))
    assert server.client().exists(records.request_key(view.id)) == 0
    result = store.result(view.id, owner=OWNER)
    assert (result.picture, result.media_type, result.recipe, result.seconds) == (
        b"picture",
        "image/png",
        "recipe",
        1.5,
    )
    assert 0 < server.client().ttl(records.result_key(view.id)) <= 60  # type: ignore[operator]
    server.client().delete(records.result_key(view.id))
    assert store.view(view.id, owner=OWNER).state == "expired"
    with pytest.raises(JobGone):
        store.result(view.id, owner=OWNER)


def test_the_queue_holds_the_id_and_nothing_else(server: RedisServer) -> None:
    announce(server)
    view = make_store(server).submit("hide", hide_request(), owner=OWNER)
    client = server.client()
    assert client.lrange("rq:queue:ddsr", 0, -1) == [view.id.encode()]
    assert [key for key in client.scan_iter() if key.startswith(b"rq:")] == [b"rq:queue:ddsr"]
    assert b"the prompt" not in b"".join(client.dump(key) for key in client.scan_iter())  # type: ignore[misc]


def test_finish_is_fenced_and_happens_once(server: RedisServer) -> None:
    announce(server)
    store, lease = make_store(server), make_lease(server)
    view = store.submit("hide", hide_request(), owner=OWNER)
    old = take(lease, view.id)
    assert taken_as(lease, view.id) == "running", "nobody takes what another holds"
    assert reap_abandoned(server, lease, view.id) == ["queued"]
    lease.beat([(view.id, old.execution)])
    new = take(lease, view.id)
    assert store.view(view.id, owner=OWNER).attempts == 2
    result = JobResult(b"late", "image/png", None, 1.0)
    assert lease.progress([old, new], 1, 5) == [False, True]
    assert not lease.done(old, result)
    assert store.view(view.id, owner=OWNER).state == "running"
    assert lease.done(new, JobResult(b"right", "image/png", None, 1.0))
    assert not lease.done(new, result)
    assert not lease.failed(view.id, "", WorkerLost())
    assert taken_as(lease, view.id) == "done"
    assert store.result(view.id, owner=OWNER).picture == b"right"


def test_attempts_run_out(server: RedisServer) -> None:
    """`DDSR_RETRIES` more than one; the one that finds it so is the reaper."""
    announce(server)
    store, lease = make_store(server), make_lease(server)
    view = store.submit("hide", hide_request(), owner=OWNER)
    ends = []
    for _ in range(4):
        take(lease, view.id)
        ends += reap_abandoned(server, lease, view.id)
    assert ends == ["queued"] * 3 + ["failed"]
    assert store.view(view.id, owner=OWNER).error_code == "worker-lost"
    with pytest.raises(WorkerLost):
        store.result(view.id, owner=OWNER)
    assert not server.client().exists(records.request_key(view.id), records.LEASES)


def test_a_beat_keeps_a_job(server: RedisServer) -> None:
    announce(server)
    store, lease = make_store(server), make_lease(server)
    job = take(lease, store.submit("hide", hide_request(), owner=OWNER).id)
    abandon(server, job.id)
    lease.beat([(job.id, job.execution)])
    assert lease.reap(60) == []
    abandon(server, job.id)
    lease.beat([(job.id, "another execution")])
    assert reap_abandoned(server, lease, job.id) == ["queued"]


def test_a_clock_that_jumps_takes_no_job_from_a_worker_that_beats(server: RedisServer) -> None:
    """It makes every worker look silent once. Only silence at the next look too is a loss."""
    announce(server)
    store, lease = make_store(server), make_lease(server)
    job = take(lease, store.submit("hide", hide_request(), owner=OWNER).id)
    for _ in range(2):
        abandon(server, job.id)
        assert lease.reap(60) == []
        assert lease.reap(60) == [], "it has seconds left for a beat"
        lease.beat([(job.id, job.execution)])
    assert reap_abandoned(server, lease, job.id) == ["queued"]


def test_an_id_that_is_never_taken_comes_back_and_not_for_ever(server: RedisServer) -> None:
    announce(server)
    store, lease, client = make_store(server, retries=1), make_lease(server, retries=1), server.client()
    view = store.submit("hide", hide_request(), owner=OWNER)
    ends = []
    for _ in range(3):
        client.lmove("rq:queue:ddsr", "rq:queue:ddsr:intermediate")
        assert lease.reap(-1) == [], "first it is only seen"
        ends += [job.state for job in lease.reap(-1)]
    assert ends == ["queued", "queued", "failed"]
    assert store.view(view.id, owner=OWNER).error_code == "worker-lost"
    assert not client.exists("rq:queue:ddsr", "rq:queue:ddsr:intermediate")


def test_a_job_costs_redis_few_commands(server: RedisServer) -> None:
    """From its submission to its answer, those inside scripts too; RQ's loop asks three times more for each batch."""
    announce(server)
    store, lease, client = make_store(server), make_lease(server), server.client()

    def run() -> None:
        view = store.submit("hide", hide_request(), owner=OWNER)
        client.lmove("rq:queue:ddsr", "rq:queue:ddsr:intermediate")  # RQ's dequeue
        (waiting,) = lease.look([view.id])
        for _ in range(2):
            assert lease.company(waiting.batch or "", 3) == []
        job = lease.open(waiting, lease.take(waiting).execution)
        lease.progress([job], 1, 1)
        lease.done(job, JobResult(b"picture", "image/png", None, 1.0))
        assert store.view(view.id, owner=OWNER).state == "done"
        assert store.result(view.id, owner=OWNER).picture == b"picture"

    def commands() -> int:
        return int(client.info("stats")["total_commands_processed"])  # type: ignore[index]

    run()  # which loads the scripts
    before = commands()
    run()
    assert commands() - before <= 48


def ids_of(page: JobPage) -> list[str]:
    return [view.id for view in page.jobs]


def test_the_owners_jobs_newest_first_by_state(server: RedisServer) -> None:
    announce(server)
    store, lease = make_store(server), make_lease(server)
    ids = [store.submit("hide", hide_request(), owner=OWNER).id for _ in range(4)]
    store.submit("hide", hide_request(), owner="mallory")
    store.cancel(ids[1], owner=OWNER)
    lease.done(take(lease, ids[2]), JobResult(b"picture", "image/png", None, 1.0))
    page = store.page("hide", owner=OWNER)
    assert (ids_of(page), page.next) == (ids[::-1], None)
    assert [view.state for view in page.jobs] == ["queued", "done", "cancelled", "queued"]
    assert page.jobs == tuple(store.view(job_id, owner=OWNER) for job_id in ids[::-1]), "as each is by itself"
    assert ids_of(store.page("hide", owner=OWNER, states=["done", "cancelled"])) == [ids[2], ids[1]]
    assert store.page("recover", owner=OWNER).jobs == store.page("hide", owner="nobody").jobs == ()
    server.client().delete(records.result_key(ids[2]))
    assert ids_of(store.page("hide", owner=OWNER, states=["expired"])) == [ids[2]]


@pytest.mark.parametrize("states", [[], ["queued"]])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_pages_leave_none_out_and_give_none_twice_while_jobs_come(
    server: RedisServer, limit: int, states: list[State]
) -> None:
    announce(server)
    store = make_store(server)
    ids = [store.submit("hide", hide_request(), owner=OWNER).id for _ in range(10)]
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page = store.page("hide", owner=OWNER, states=states, cursor=cursor, limit=limit)
        assert len(page.jobs) <= limit
        seen += ids_of(page)
        store.submit("hide", hide_request(), owner=OWNER)
        cursor, pages = page.next, pages + 1
    assert seen == ids[::-1]
    assert pages == -(-10 // limit), "no empty page at the end"


def test_a_page_ends_where_it_has_looked_long_enough(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    announce(server)
    monkeypatch.setattr("shared.jobs.store._LOOKED", 100)
    store, client = make_store(server, queue_limit=200), server.client()
    wanted = store.submit("hide", hide_request(), owner=OWNER)
    for number in range(120):  # entries whose records are gone
        client.zadd(records.list_key("hide", OWNER), {f"{9 * 10**15 + number}-{number:032x}": 0})
    first = store.page("hide", owner=OWNER, states=["queued"], limit=5)
    assert first.jobs == ()
    assert first.next is not None
    assert re.fullmatch(CURSOR, first.next)
    assert ids_of(store.page("hide", owner=OWNER, states=["queued"], limit=5, cursor=first.next)) == [wanted.id]


def test_the_list_forgets_with_the_records_and_shows_no_forged_one(server: RedisServer) -> None:
    announce(server)
    store, client = make_store(server), server.client()
    name = records.list_key("hide", OWNER)
    client.zadd(name, {f"{10**15}-{'0' * 32}": 0})  # of the year 2001
    others = store.submit("hide", hide_request(), owner="mallory").id
    client.zadd(name, {f"{10**15 + 1}-{others}": 0})
    mine = store.submit("hide", hide_request(), owner=OWNER).id
    assert [entry[17:].decode() for entry in client.zrange(name, 0, -1)] == [mine]  # type: ignore[union-attr]
    assert 0 < client.ttl(name) <= queue_settings(server).envelope_ttl + 86_400  # type: ignore[operator]
    newer = 9 * 10**15
    for number, fields in enumerate([{"kind": "hide", "state": "odd"}, {"x": "y"}]):
        client.hset(records.record_key(f"{number:032x}"), mapping=fields)  # type: ignore[arg-type]
    client.set(records.record_key(f"{2:032x}"), "no hash")
    client.zadd(name, {f"{newer + number}-{number:032x}": 0 for number in range(3)} | {f"{newer}-{others}": 0})
    assert ids_of(store.page("hide", owner=OWNER)) == [mine]
    client.delete(records.record_key(mine))
    assert store.page("hide", owner=OWNER).jobs == ()


def test_another_owner_sees_nothing(server: RedisServer) -> None:
    announce(server)
    store = make_store(server)
    view = store.submit("hide", hide_request(), owner=OWNER)
    for call in (store.view, store.result, store.cancel):
        with pytest.raises(JobNotFound):
            call(view.id, owner="mallory")
        with pytest.raises(JobNotFound):
            call("0" * 32, owner=OWNER)


def test_a_request_opens_only_as_what_it_is(server: RedisServer) -> None:
    announce(server)
    store, lease = make_store(server), make_lease(server)
    one, two = (store.submit("hide", hide_request(), owner=OWNER) for _ in range(2))
    client = server.client()
    client.copy(records.request_key(one.id), records.request_key(two.id), replace=True)
    with pytest.raises(EnvelopeError):
        take(lease, two.id)
    client.hset(records.record_key(one.id), "kind", "recover")
    with pytest.raises(EnvelopeError):
        take(lease, one.id)


def test_only_the_submitting_service_opens_the_result(server: RedisServer, tmp_path: Path) -> None:
    announce(server)
    store, lease = make_store(server), make_lease(server)
    view = store.submit("hide", hide_request(), owner=OWNER)
    lease.done(take(lease, view.id), JobResult(b"picture", "image/png", None, 1.0))
    replica = make_store(server)
    assert replica.result(view.id, owner=OWNER).picture == b"picture"
    settings = queue_settings(server).model_copy(update={"service_keys": tmp_path / "other"})
    other = type(store)(server.client(), settings)
    with pytest.raises(JobGone):
        other.result(view.id, owner=OWNER)


def test_cancel_queued_and_running(server: RedisServer) -> None:
    announce(server)
    store, lease = make_store(server), make_lease(server)
    queued, running = (store.submit("hide", hide_request(), owner=OWNER) for _ in range(2))
    assert store.cancel(queued.id, owner=OWNER).state == "cancelled"
    assert server.client().lrange("rq:queue:ddsr", 0, -1) == [running.id.encode()]
    job = take(lease, running.id)
    assert store.cancel(running.id, owner=OWNER).state == "cancelled"
    assert lease.progress([job], 1, 5) == [False]
    assert not lease.done(job, JobResult(b"", "image/png", None, 1.0))
    assert store.cancel(running.id, owner=OWNER).state == "cancelled"
    with pytest.raises(JobCancelled):
        store.result(running.id, owner=OWNER)
    assert not server.client().exists(records.request_key(running.id), records.request_key(queued.id))


def test_a_finished_job_that_is_deleted_has_no_result_any_more(server: RedisServer) -> None:
    announce(server)
    store, lease = make_store(server), make_lease(server)
    view = store.submit("hide", hide_request(), owner=OWNER)
    lease.done(take(lease, view.id), JobResult(b"picture", "image/png", None, 1.0))
    with pytest.raises(JobNotFound):
        store.cancel(view.id, owner="mallory")
    assert server.client().exists(records.result_key(view.id))
    assert store.cancel(view.id, owner=OWNER).state == "expired"
    assert not server.client().exists(records.result_key(view.id))
    with pytest.raises(JobGone):
        store.result(view.id, owner=OWNER)
    assert store.cancel(view.id, owner=OWNER).state == "expired"


def test_the_last_tenth_of_memory_is_for_accepted_jobs(server: RedisServer) -> None:
    announce(server)
    store, lease, client = make_store(server), make_lease(server), server.client()
    view = store.submit("hide", hide_request(), owner=OWNER)
    limit = client.config_get("maxmemory")["maxmemory"]  # type: ignore[index]
    used = client.info("memory")["used_memory"]  # type: ignore[index]
    try:
        client.config_set("maxmemory", used * 20 // 19)
        with pytest.raises(QueueFull):
            store.submit("hide", hide_request(), owner=OWNER)
        assert lease.done(take(lease, view.id), JobResult(b"picture", "image/png", None, 1.0))
    finally:
        client.config_set("maxmemory", limit)
    assert store.result(view.id, owner=OWNER).picture == b"picture"
    assert store.submit("hide", hide_request(), owner=OWNER).state == "queued"


def test_idempotency(server: RedisServer) -> None:
    announce(server)
    store = make_store(server)
    claim = IdempotencyClaim("key-1")
    first = store.submit("hide", hide_request(), owner=OWNER, idempotency=claim)
    with pytest.raises(IdempotencyConflict) as conflict:
        store.submit("hide", hide_request(), owner=OWNER, idempotency=claim)
    assert conflict.value.job_id == first.id
    for other in (hide_request(prompt="another"), hide_request(seed=1), hide_request(steps=9)):
        with pytest.raises(IdempotencyMismatch):
            store.submit("hide", other, owner=OWNER, idempotency=claim)
    assert store.submit("hide", hide_request(), owner="bob", idempotency=claim).id != first.id
    store.cancel(first.id, owner=OWNER)
    again = store.submit("hide", hide_request(), owner=OWNER, idempotency=claim)
    assert (again.id, again.replayed, again.state) == (first.id, True, "cancelled")


def test_idempotency_under_contention(server: RedisServer) -> None:
    announce(server)
    store = make_store(server)
    ids: list[str] = []
    conflicts: list[str] = []

    def submit() -> None:
        try:
            ids.append(store.submit("hide", hide_request(), owner=OWNER, idempotency=IdempotencyClaim("k")).id)
        except IdempotencyConflict as error:
            conflicts.append(error.job_id)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(ids), conflicts) == (1, ids * 7)
    assert server.client().llen("rq:queue:ddsr") == 1


def test_the_queue_has_an_end(server: RedisServer) -> None:
    announce(server)
    store = make_store(server, queue_limit=2)
    for _ in range(2):
        store.submit("hide", hide_request(), owner=OWNER)
    with pytest.raises(QueueFull) as full:
        store.submit("hide", hide_request(), owner=OWNER)
    assert full.value.retry_after > 0
    assert store.health().queued == 2


@pytest.mark.parametrize("content", [None, b"no key", b"\xff", b"00" * 31])
def test_a_broken_key_file_is_not_blamed_on_redis(server: RedisServer, tmp_path: Path, content: bytes | None) -> None:
    announce(server)
    pins = tmp_path / "worker.pub"
    if content is not None:
        pins.write_bytes(content)
    store = make_store(server, worker_keys_file=pins)
    health = store.health()
    assert (health.redis, len(health.workers), health.trusted) == (True, 1, ())
    assert isinstance(health.trouble, KeyFileError)
    assert health.trouble is not None
    with pytest.raises(KeyFileError):
        store.submit("hide", hide_request(), owner=OWNER)


def test_health_says_why_redis_takes_no_writes(own_server: RedisServer) -> None:
    announce(own_server)
    store, client = make_store(own_server), own_server.client()
    assert store.health().trouble is None
    before = client.dbsize()
    client.config_set("maxmemory", 1)
    assert isinstance(store.health().trouble, QueueFull)
    client.config_set("maxmemory", 0)
    client.replicaof("127.0.0.1", "1")
    trouble = store.health().trouble
    assert isinstance(trouble, QueueUnavailable)
    assert "read-only" in trouble.detail
    client.replicaof("NO", "ONE")
    client.config_set("min-replicas-to-write", 1)
    trouble = store.health().trouble
    assert isinstance(trouble, QueueUnavailable)
    assert "refuses a command" in trouble.detail
    client.config_set("min-replicas-to-write", 0)
    assert store.health().trouble is None
    assert client.dbsize() == before


@pytest.mark.parametrize("kind", ["hide", "recover"])
def test_a_job_that_redis_forgot_is_lost_not_unknown(server: RedisServer, kind: Kind) -> None:
    announce(server)
    store = make_store(server, tombstone_ttl=60, idempotency_ttl=60)
    request = hide_request() if kind == "hide" else recover_request(encode_picture(face(), "png"), RECIPE)
    job = store.submit(kind, request, owner=OWNER)
    server.client().flushall()
    view = store.view(job.id, owner=OWNER)
    assert (view.kind, view.state, view.error_code) == (kind, "failed", "worker-lost")
    assert abs(view.created - job.created) <= 1
    with pytest.raises(WorkerLost, match="store lost"):
        store.result(job.id, owner=OWNER)
    assert store.cancel(job.id, owner=OWNER).state == "failed"
    with pytest.raises(JobNotFound):
        store.view(job.id, owner="bob")
    with pytest.raises(JobNotFound):
        store.view(f"{int(job.id, 16) ^ 1:032x}", owner=OWNER)
    with pytest.raises(JobNotFound):
        make_other_service(server).view(job.id, owner=OWNER)
    key = Keyring.load_or_create(server.folder / "keys" / "service").current
    with pytest.raises(JobNotFound):  # by now it would have been forgotten in any case
        store.view(make_id(key, kind, OWNER, time.time() - 62), owner=OWNER)


def make_other_service(server: RedisServer) -> JobStore:
    """With keys of its own."""
    settings = queue_settings(server).model_copy(update={"service_keys": server.folder / "keys" / "other-service"})
    return JobStore(open_redis(settings), settings)


def test_the_records_fields_are_those_that_the_documents_name(server: RedisServer) -> None:
    """docs/operations.md says what stands in Redis in the clear; a field more needs a word there."""
    announce(server)
    store, lease = make_store(server), make_lease(server)
    job = store.submit("hide", hide_request(), owner=OWNER, webhook="https://example.org/")
    running = take(lease, job.id)
    lease.progress([running], 1, 5)
    lease.failed(job.id, running.execution, WorkerLost("a detail"))
    due = DueWebhooks(server.client(), Keyring.load_or_create(server.folder / "keys" / "worker"))
    due.next(60)
    sealed = {b"webhook", b"webhook_attempts"}
    client = server.client()
    during = set(client.hgetall(records.record_key(job.id)))  # type: ignore[arg-type]
    due.end(job.id, "given-up", "a reason")
    after = set(client.hgetall(records.record_key(job.id)))  # type: ignore[arg-type]
    assert sealed <= during
    assert {name.decode() for name in (during | after) - sealed} == {
        "kind",
        "state",
        "owner",
        "created",
        "started",
        "step",
        "steps",
        "batch",
        "reply_key",
        "attempts",
        "execution",
        "worker",
        "error_code",
        "error_detail",
        "webhook_end",
        "webhook_reason",
    }
    words = (
        "kind",
        "state",
        "times",
        "step",
        "owner",
        "reply key",
        "attempts",
        "execution",
        "host name",
        "fingerprint",
        "detail",
        "webhook ended",
    )
    (line,) = re.findall(r"^\| record: .*", OPERATIONS, re.MULTILINE)
    assert all(word in line for word in words)


def test_an_id_without_a_service_is_none() -> None:
    keys = Keyring([PrivateKey.generate()])
    assert issued(keys, make_id(keys.current, "hide", OWNER, 1e9), OWNER) == ("hide", 1e9)
    for text in ("", "0" * 32, "no hex", "00"):
        assert issued(keys, text, OWNER) is None


def test_a_key_that_is_not_trusted_is_told_of_once(
    server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = announce(server).current.public.to_text()
    pins = tmp_path / "worker.pub"
    pins.write_text("")
    store = make_store(server, worker_keys_file=pins)
    for _ in range(2):
        assert store.health().trouble is not None
    (line,) = [record.getMessage() for record in caplog.records if "not trusted" in record.getMessage()]
    assert key in line
    assert "add it to DDSR_WORKER_KEYS_FILE" in line


def test_what_redis_refuses_is_told_with_a_remedy(server: RedisServer, tmp_path: Path) -> None:
    """Real refusals: of a password, of a command, of a write without memory, and no Redis at all."""

    def refused(url: str, *command: str) -> str:
        with redis.Redis.from_url(url, retry=None) as client, pytest.raises(redis.RedisError) as error:
            client.execute_command(*command)
        return remedy(error.value)

    assert "DDSR_REDIS_PASSWORD_FILE" in refused(server.service_url.replace(server.password, "wrong"), "PING")
    assert "this user" in refused(server.service_url, "FLUSHALL")
    with server.client() as admin:
        admin.acl_log_reset()  # this refusal was asked for
        before = admin.config_get("maxmemory")["maxmemory"]  # type: ignore[index]
        admin.config_set("maxmemory", "1")
        try:
            assert "maxmemory" in refused(server.url, "SET", "a", "b")
        finally:
            admin.config_set("maxmemory", before)
    assert "disk" in refused(f"unix://{tmp_path}/none.sock", "PING")
    assert "free its disk" in remedy(redis.ResponseError("MISCONF Errors writing to the AOF file: No space left"))


def test_an_idempotency_key_may_not_outlive_its_job(server: RedisServer) -> None:
    with pytest.raises(ValidationError, match="DDSR_IDEMPOTENCY_TTL"):
        queue_settings(server, idempotency_ttl=200, tombstone_ttl=100)


def test_no_worker_no_job(server: RedisServer, tmp_path: Path) -> None:
    store = make_store(server)
    assert store.health().trouble is not None
    with pytest.raises(NoWorker):
        store.submit("hide", hide_request(), owner=OWNER)
    keys = announce(server)
    pins = tmp_path / "worker.pub"
    pins.write_text("00" * 32 + "\n")
    pinned = make_store(server, worker_keys_file=pins)
    assert len(pinned.health().workers) == 1
    with pytest.raises(NoWorker):
        pinned.submit("hide", hide_request(), owner=OWNER)
    pins.write_text(keys.current.public.to_text() + "\n")
    assert pinned.submit("hide", hide_request(), owner=OWNER).state == "queued"
    assert pinned.health().models == ("a" * 16,)


def test_jobs_are_for_every_live_worker(server: RedisServer) -> None:
    announce(server)
    elsewhere = Keyring.load_or_create(server.folder / "keys" / "third")
    store = make_store(server)
    early = store.submit("hide", hide_request(), owner=OWNER)
    announce(server, "w2", elsewhere)
    late = store.submit("hide", hide_request(), owner=OWNER)
    lease = make_lease(server, elsewhere)
    assert [lease.for_others(job) for job in lease.look([early.id, late.id])] == [True, False]
    assert take(lease, late.id).id == late.id


def test_what_nobody_took_in_time_expires(server: RedisServer) -> None:
    """Not before the reaper says so; until then a look at it changes nothing."""
    announce(server)
    store, lease, client = make_store(server), make_lease(server), server.client()
    late, patient = (store.submit("hide", hide_request(), owner=OWNER) for _ in range(2))
    abandon(server, late.id)
    before = {key: client.dump(key) for key in client.scan_iter()}
    assert store.view(late.id, owner=OWNER).state == "queued"
    assert {key: client.dump(key) for key in client.scan_iter()} == before
    assert [(job.id, job.state) for job in lease.reap(60)] == [(late.id, "expired")]
    assert store.view(late.id, owner=OWNER).state == "expired"
    assert not client.exists(records.request_key(late.id))
    assert client.lrange("rq:queue:ddsr", 0, -1) == [patient.id.encode()]


def test_company_takes_fresh_jobs_of_one_batch(server: RedisServer) -> None:
    announce(server)
    store, lease, client = make_store(server), make_lease(server), server.client()
    plan = [5, 6, 5, 5, 5]
    jobs = [store.submit("hide", hide_request(steps=steps), owner=OWNER).id for steps in plan]
    take(lease, jobs[2])
    assert reap_abandoned(server, lease, jobs[2]) == ["queued"]
    first, tried = lease.look([jobs[0], jobs[2]])
    assert first.batch is not None
    assert tried.batch is None
    assert [job.id for job in lease.company(first.batch, 2)] == [jobs[0], jobs[3]]
    left = [jobs[1], jobs[2], jobs[4], jobs[2]]
    assert [key.decode() for key in client.lrange("rq:queue:ddsr", 0, -1)] == left  # type: ignore[union-attr]
    assert client.llen("rq:queue:ddsr:intermediate") == 2


def test_redis_away(own_server: RedisServer) -> None:
    announce(own_server)
    store = make_store(own_server)
    view = store.submit("hide", hide_request(), owner=OWNER)
    own_server.stop(kill=True)
    with pytest.raises(QueueUnavailable):
        store.submit("hide", hide_request(), owner=OWNER)
    with pytest.raises(QueueUnavailable):
        store.view(view.id, owner=OWNER)
    assert not store.health().redis
    own_server.start()
    assert store.view(view.id, owner=OWNER).position == 1
