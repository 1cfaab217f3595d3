"""Envelopes in the wrong place, keys that are unknown, rotated or destroyed, and jobs that nobody submitted."""

import signal
import time

import pytest
from rq import Callback, Queue
from rq.serializers import JSONSerializer

from shared.envelope import Keyring
from shared.jobs import scripts as records
from tests.faults.cluster import Cluster
from tests.worker.support import ROOT, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


def test_an_envelope_moved_to_another_job_or_service(staffed: Cluster) -> None:
    """Requests of two jobs are exchanged, and a hiding's request is put behind a recovery."""
    first = staffed.submit()
    assert staffed.end(first) == "done"
    hidden = staffed.job(first, "/result").content
    worker = staffed.staff()
    staffed.pause(worker)
    one, two, three = staffed.submit(), staffed.submit(), staffed.submit(steps=3)
    form = {"data": {"identity_prompt": "another"}, "files": {"stego": hidden}, "headers": {"Prefer": "respond-async"}}
    recovery = staffed.client.post(f"{staffed.receiver}/recover", **form).json()["id"]
    with staffed.store() as store:
        a, b, c, d = (store.get(records.request_key(job)) for job in (one, two, three, recovery))
        for job, sealed in ((one, b), (two, a), (three, d), (recovery, c)):
            store.set(records.request_key(job), sealed, keepttl=True)
    worker.send_signal(signal.SIGCONT)
    assert [staffed.end(job) for job in (one, two, three)] == ["failed"] * 3
    answer = staffed.job(one, "/result")
    assert (answer.status_code, answer.json()["code"]) == (500, "envelope-error")
    other = staffed.client.get(f"{staffed.receiver}/jobs/{recovery}", params={"wait": 30}).json()
    assert (other["state"], other["error"]["code"]) == ("failed", "envelope-error")


def test_a_result_moved_to_another_job_or_service(staffed: Cluster) -> None:
    one, two = staffed.submit(), staffed.submit()
    assert [staffed.end(job) for job in (one, two)] == ["done", "done"]
    hidden = staffed.job(one, "/result").content
    form = {"data": {"identity_prompt": "another"}, "files": {"stego": hidden}, "headers": {"Prefer": "respond-async"}}
    recovery = staffed.client.post(f"{staffed.receiver}/recover", **form).json()["id"]
    address = f"{staffed.receiver}/jobs/{recovery}"
    assert staffed.client.get(address, params={"wait": 30}).json()["state"] == "done"
    with staffed.store() as store:
        for job in (two, recovery):
            store.copy(records.result_key(one), records.result_key(job), replace=True)
    for moved in (staffed.job(two, "/result"), staffed.client.get(f"{address}/result")):
        assert (moved.status_code, moved.json()["code"]) == (410, "job-gone")
    assert staffed.job(one, "/result").content == hidden
    assert staffed.client.get(f"{staffed.receiver}/jobs/{one}").status_code == 404


def test_a_worker_with_an_unknown_key_passes_the_job_on(cluster: Cluster) -> None:
    """The newcomer met a job that was sealed before it came; it takes what was sealed for it too."""
    strange = {"DDSR_WORKER_KEYS": str(cluster.folder / "keys" / "newcomer")}
    cluster.pause(cluster.staff())
    early = cluster.submit()
    cluster.dismiss()
    with cluster.worker(**strange):
        late = cluster.submit()
        assert cluster.end(late) == "done"
        assert cluster.state(early) == "queued"
        cluster.staff()
        assert cluster.end(early) == "done"


@pytest.mark.slow
def test_keys_rotated_and_destroyed_while_jobs_wait(cluster: Cluster) -> None:
    """A rotated worker key still opens; a destroyed one makes the job unreadable for ever, and it expires."""
    folder = cluster.folder / "keys" / "rotated"
    keys = {"DDSR_WORKER_KEYS": str(folder)}
    impatient = cluster.replica("impatient", DDSR_QUEUE_TTL="3")
    cluster.dismiss()
    with cluster.worker(**keys) as first:
        cluster.pause(first)
        kept = cluster.submit()
        cluster.kill(first)
    Keyring.load_or_create(folder).rotate()
    with cluster.worker(**keys) as second:
        assert cluster.end(kept) == "done"
        assert cluster.proves(kept)
        cluster.pause(second)
        lost = cluster.submit(url=impatient)
        cluster.kill(second)
    ring = Keyring.load_or_create(folder)
    old = [key.id for key in ring.public_keys]
    ring.rotate()
    for key_id in old:
        ring.destroy(key_id)
    with cluster.worker(**keys):
        assert cluster.end(lost) == "expired"
        fresh = cluster.submit()
        assert cluster.end(fresh) == "done"


@pytest.mark.slow
def test_a_services_key_rotated_and_destroyed(staffed: Cluster) -> None:
    """A replica with the rotated keys reads what was submitted before; one without the old key cannot."""
    folder = staffed.folder / "keys" / "another"
    own = {"DDSR_SERVICE_KEYS": str(folder)}
    old = staffed.service("sender", **own)
    one, two = staffed.submit(url=old), staffed.submit(url=old)
    Keyring.load_or_create(folder).rotate()
    rotated = staffed.service("sender", **own)
    three = staffed.submit(url=rotated)
    assert [staffed.end(job) for job in (one, two, three)] == ["done"] * 3
    assert staffed.client.get(f"{rotated}/jobs/{one}/result").status_code == 200
    ring = Keyring.load_or_create(folder)
    ring.destroy(ring.public_keys[0].id)
    bereft = staffed.service("sender", **own)
    gone = staffed.client.get(f"{bereft}/jobs/{two}/result")
    assert (gone.status_code, gone.json()["code"]) == (410, "job-gone")
    assert staffed.client.get(f"{bereft}/jobs/{three}/result").status_code == 200
    assert staffed.job(three, "/result").status_code == 410


def test_forged_entries_do_nothing_and_stop_nobody(staffed: Cluster) -> None:
    """Somebody who can write to Redis names other functions, other ids, callbacks, and plain nonsense."""
    wire = staffed.folder / "wire"
    name = "tests.worker.support.tripwire"
    with staffed.store() as store:
        queue = Queue("ddsr", connection=store, serializer=JSONSerializer)
        queue.enqueue(name, str(wire), job_id="a" * 32)
        queue.enqueue("os.system", f"touch {wire}", job_id="b" * 32)
        queue.enqueue(name, str(wire), job_id="d" * 32, on_success=Callback(name))
        store.hset("rq:job:" + "e" * 32, mapping={"data": "x", "created_at": "yesterday", "timeout": "{}"})
        store.set("rq:job:" + "f" * 32, "not even a hash")
        for strange in (b"e" * 32, b"f" * 32, b"\xff\xfe", b"", b"0" * 32):
            store.rpush("rq:queue:ddsr", strange)
        job = staffed.submit()
        assert staffed.end(job) == "done"
        until(lambda: not store.exists("rq:queue:ddsr", "rq:queue:ddsr:intermediate"), 30)
        store.delete(*("rq:job:" + letter * 32 for letter in "abdef"))
    time.sleep(0.1)
    assert staffed.staff().poll() is None
    assert not wire.exists()
    assert not (ROOT / "tripped").exists()
