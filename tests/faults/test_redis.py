"""Redis is killed, full, without disk, or cut off in mid-sentence."""

import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster
from tests.worker.support import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


def test_redis_killed_and_restarted_in_mid_job(cluster: Cluster) -> None:
    """The services say 503, the worker computes on; what was accepted is in the append-only file."""
    cluster.dismiss()
    with cluster.worker(DDSR_BATCH_SIZE="1") as worker:
        computed, waiting = cluster.submit("pause:0.6"), cluster.submit()
        cluster.running(computed)
        cluster.kill_redis()
        for answer in (cluster.post(), cluster.job(computed), cluster.delete(waiting)):
            assert (answer.status_code, answer.json()["code"]) == (503, "queue-unavailable")
            assert int(answer.headers["Retry-After"]) > 0
        assert cluster.client.get(f"{cluster.sender}/readyz").status_code == 503
        assert cluster.client.get(f"{cluster.sender}/livez").status_code == 200
        cluster.start_redis()
        if worker.poll() is not None:  # it may give up; a supervisor starts it again
            worker = cluster.start_worker()
        assert [cluster.end(job) for job in (computed, waiting)] == ["done", "done"]
        assert all(cluster.proves(job) for job in (computed, waiting))
        cluster.kill(worker)


def test_a_client_that_waits_while_redis_is_away(staffed: Cluster) -> None:
    """Its request is answered with the picture all the same."""
    answers = []
    client = threading.Thread(target=lambda: answers.append(staffed.post("pause:0.4", prefer="wait=60")))
    client.start()
    with staffed.store() as store:
        until(lambda: any(store.hget(name, "step") for name in records_of(store)), 30)
    before = staffed.log("sender").count("redis failed")
    staffed.kill_redis()
    until(lambda: staffed.log("sender").count("redis failed") > before, 30)
    staffed.start_redis()
    client.join(90)
    assert [answer.status_code for answer in answers] == [200]
    assert staffed.proves(answers[0].headers["DDSR-Job"])


def records_of(store: object) -> list[bytes]:
    """Keys of the jobs that are running."""
    names = store.keys("ddsr:job:*")  # type: ignore[attr-defined]
    return [
        name
        for name in names
        if name.count(b":") == 2 and store.hget(name, "state") == b"running"  # type: ignore[attr-defined]
    ]


def test_redis_full(cluster: Cluster) -> None:
    """New jobs are refused while there is room for those that were accepted; nobody loses one to a lack of memory."""
    worker = cluster.staff()
    with cluster.store() as store:
        cluster.pause(worker)
        limit = store.config_get("maxmemory")["maxmemory"]
        try:
            accepted = [cluster.submit() for _ in range(3)]
            store.setrange("ballast", 10**7, b"x")  # a tenth of little would not do for a worker's connections
            room = store.info("memory")["used_memory"]
            store.config_set("maxmemory", room * 10 // 9)  # beyond nine tenths of it from now on
            store.setrange("ballast", 10**7 + 10**5, b"x")
            full = cluster.post()
            assert (full.status_code, full.json()["code"]) == (503, "queue-full")
            worker.send_signal(signal.SIGCONT)
            assert [cluster.end(job) for job in accepted] == ["done"] * 3
            store.config_set("maxmemory", store.info("memory")["used_memory"] // 2)  # and now nothing at all goes in
            refused = cluster.post()
            assert (refused.status_code, refused.json()["code"]) in {(503, "queue-full"), (503, "queue-unavailable")}
            assert cluster.job(accepted[0], "/result").status_code in (200, 503)
        finally:
            store.config_set("maxmemory", limit)
            store.delete("ballast")
    cluster.staff()  # it may have given up; a supervisor starts it again
    assert all(cluster.proves(job) for job in accepted)
    assert cluster.end(cluster.submit()) == "done"


@pytest.mark.slow
def test_redis_full_in_mid_job(cluster: Cluster) -> None:
    """A worker that cannot store its result waits for room, or leaves the job to the next."""
    worker = cluster.staff()
    with cluster.store() as store:
        limit = store.config_get("maxmemory")["maxmemory"]
        job = cluster.submit("pause:0.3")
        cluster.running(job)
        try:
            store.config_set("maxmemory", store.info("memory")["used_memory"] // 2)
            until(lambda: worker.poll() is not None or "redis does not answer" in cluster.log("worker"), 30)
        finally:
            store.config_set("maxmemory", limit)
    cluster.staff()
    assert cluster.end(job) == "done"
    assert cluster.proves(job)


def test_an_emptied_redis(staffed: Cluster) -> None:
    """FLUSHALL: what was accepted is lost and said to be, by every replica; the cluster goes on."""
    second = staffed.replica("second")
    done, running = staffed.submit(), staffed.submit("pause:0.3", steps=100)
    assert staffed.end(done) == "done"
    staffed.running(running)
    with staffed.store() as store:
        store.flushall()
    for job in (done, running):
        for url in (staffed.sender, second):
            shown = staffed.client.get(f"{url}/jobs/{job}").json()
            assert (shown["state"], shown["error"]["code"]) == ("failed", "worker-lost")
            lost = staffed.client.get(f"{url}/jobs/{job}/result")
            assert (lost.status_code, lost.json()["code"]) == (503, "worker-lost")
            assert int(lost.headers["Retry-After"]) > 0
        assert staffed.client.get(f"{staffed.receiver}/jobs/{job}").status_code == 404
    until(lambda: staffed.client.get(f"{staffed.sender}/readyz").status_code == 200, 60)
    staffed.staff()
    assert staffed.end(staffed.submit()) == "done"


class SmallDisk:
    """A folder of a quarter of a megabyte: a tmpfs where we may mount one, else a limit on the size of a file."""

    size = 2**18

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ddsr-disk-"))
        command = ["mount", "-t", "tmpfs", "-o", f"size={self.size},mode=700", "tmpfs", str(self.folder)]
        self.mounted = (
            shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0
        )

    def limit(self) -> None:
        """Called in the new process of Redis. EFBIG is to Redis what ENOSPC is."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))

    def widen(self) -> None:
        """More space, as after somebody has cleaned up."""
        if self.mounted:
            subprocess.run(["mount", "-o", "remount,size=64m", str(self.folder)], check=True, timeout=20)
        self.limit = lambda: None  # type: ignore[method-assign]

    def remove(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True, timeout=20)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def small_disk() -> Iterator[SmallDisk]:
    disk = SmallDisk()
    yield disk
    disk.remove()


@pytest.fixture
def cramped(small_disk: SmallDisk) -> Iterator[Cluster]:
    cluster = Cluster(redis_folder=small_disk.folder)
    try:
        cluster.start_redis(preexec=small_disk.limit)
        cluster.sender, cluster.receiver = cluster.service("sender"), cluster.service("receiver")
        yield cluster
        cluster.settle()
    finally:
        cluster.stop()


@pytest.mark.slow
def test_a_full_disk_under_the_append_only_file(cramped: Cluster, small_disk: SmallDisk) -> None:
    """Redis ends rather than acknowledge what it cannot keep; once there is space, every accepted job is there."""
    cluster = cramped
    with cluster.worker() as worker:
        cluster.pause(worker)
        codes = []
        while not codes or codes[-1] == 202:
            codes.append(cluster.post().status_code)
            assert len(codes) < 100, "the disk does not fill up"
        assert codes[-1] == 503
        assert len(cluster.accepted) > 3
        until(lambda: cluster.redis is not None and cluster.redis.poll() is not None, 30)
        assert "AOF write error" in cluster.log("redis")
        cluster.kill(worker)
    small_disk.widen()
    cluster.start_redis()
    with cluster.worker():
        states = [cluster.end(job) for job in cluster.accepted]
        assert set(states) == {"done"}
        assert cluster.end(cluster.submit()) == "done"


class Cut:
    """Between a client and Redis: passes everything on, and hangs up instead of giving the answer to the next
    submission."""

    def __init__(self, path: Path, redis: Path) -> None:
        self.armed = False
        self.cuts = 0
        self._cut: set[socket.socket] = set()
        self._redis = redis
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._redis))
            except OSError:  # Redis is away: so is the line
                server.close()
                client.close()
                continue
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(2**16):
                if self.armed and b"EVALSHA" in data and b":request" in data:
                    self.armed = False
                    self.cuts += 1
                    self._cut.add(server)
                server.sendall(data)
        except OSError:
            pass
        finally:
            server.close()

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while (data := server.recv(2**16)) and server not in self._cut:
                client.sendall(data)
        except OSError:
            pass
        finally:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            client.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would leave `accept` waiting
        self._listener.close()


@pytest.mark.slow
@pytest.mark.parametrize("key", ["", "lost"], ids=["without a key", "with an idempotency key"])
def test_the_answer_to_a_submission_is_lost(staffed: Cluster, key: str) -> None:
    """Redis has taken the job, the line breaks before it says so: the job is there once."""
    path = staffed.folder / f"cut{key}.sock"
    cut = Cut(path, staffed.socket)
    staffed.submit()  # so that Redis knows the script
    try:
        away = staffed.service("sender", REDIS_URL=f"unix://:{staffed.password}@{path}")
        with staffed.store() as store:
            before = {name for name in store.keys("ddsr:job:*") if name.count(b":") == 2}
            cut.armed = True
            answer = staffed.post("pause:0.1", url=away, key=key)
            assert cut.cuts == 1
            assert answer.status_code == 202
            assert staffed.end(answer.json()["id"]) == "done"
            after = {name for name in store.keys("ddsr:job:*") if name.count(b":") == 2}
            assert len(after - before) == 1
        assert staffed.batches(answer.json()["id"]) == 1
        assert not staffed.said("skipped", answer.json()["id"])
    finally:
        cut.close()
