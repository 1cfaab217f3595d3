"""Clocks that jump, and clocks that differ between machines: real processes under a wall clock that the test turns."""

import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster, stop_process
from tests.worker.support import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
HOUR, DAY = 3600, 86_400
SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """The wall clock of every process that gets `variables`."""

    def __init__(self, library: Path, file: Path) -> None:
        self._file = file
        self.turn(0)
        self.variables = {"LD_PRELOAD": str(library), "DDSR_TEST_CLOCK": str(file)}

    def turn(self, seconds: int) -> None:
        with open(self._file, "r+b" if self._file.exists() else "wb") as stream:
            stream.write(struct.pack("=q", seconds))


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: clock.c cannot be built")
    built = tmp_path_factory.mktemp("clock") / "clock.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(built), str(SOURCE)]
    subprocess.run(command, check=True, timeout=60)
    return built


@pytest.fixture
def clock(library: Path, tmp_path: Path) -> Clock:
    clock = Clock(library, tmp_path / "shift")
    clock.turn(DAY)
    year = subprocess.run(["date", "+%s"], env=clock.variables, capture_output=True, check=True, timeout=20)
    plain = subprocess.run(["date", "+%s"], capture_output=True, check=True, timeout=20)
    assert int(year.stdout) - int(plain.stdout) >= DAY - 60, "the library turns no clock"
    clock.turn(0)
    return clock


@pytest.mark.parametrize(
    "jump", [pytest.param(DAY, id="forward"), pytest.param(-DAY, id="back", marks=pytest.mark.slow)]
)
def test_a_workers_clock_jumps_in_mid_job(cluster: Cluster, clock: Clock, jump: int) -> None:
    """Its job is not taken from it by another; and it still takes over what others leave."""
    cluster.dismiss()
    with cluster.worker(**clock.variables) as turned, cluster.worker() as other:
        stop_process(other)
        job = cluster.submit("pause:0.6")
        cluster.running(job)
        other.send_signal(signal.SIGCONT)
        clock.turn(jump)
        assert cluster.end(job) == "done"
        assert cluster.batches(job) == 1
        assert cluster.proves(job)
        stop_process(turned)
        left = cluster.submit("pause:0.5", steps=60)
        cluster.running(left)
        turned.send_signal(signal.SIGCONT)
        cluster.kill(other)
        until(lambda: cluster.batches(left) == 2, 60)
        assert cluster.delete(left).json()["state"] == "cancelled"


@pytest.mark.slow
def test_workers_whose_clocks_differ(cluster: Cluster, clock: Clock) -> None:
    """One worker an hour ahead of the other: neither takes the other's jobs."""
    clock.turn(HOUR)
    cluster.dismiss()
    with cluster.worker(DDSR_BATCH_SIZE="1", **clock.variables), cluster.worker(DDSR_BATCH_SIZE="1"):
        jobs = [cluster.submit("pause:0.8") for _ in range(2)]
        cluster.running(*jobs)
        assert [cluster.end(job) for job in jobs] == ["done", "done"]
    assert [cluster.batches(job) for job in jobs] == [1, 1]


@pytest.fixture
def turned_house(clock: Clock) -> Iterator[Cluster]:
    cluster = Cluster(**clock.variables)
    try:
        cluster.start_redis()
        cluster.sender, cluster.receiver = cluster.service("sender"), cluster.service("receiver")
        yield cluster
        cluster.settle()
    finally:
        cluster.stop()


def ready(cluster: Cluster) -> bool:
    return cluster.client.get(f"{cluster.sender}/readyz").status_code == 200


@pytest.mark.slow
def test_the_clock_of_the_whole_machine_jumps(turned_house: Cluster, clock: Clock) -> None:
    """Back: everything goes on. Forward by an hour: what waited or lay ready for longer than it may has expired,
    and says so; a job in mid-computation is finished.
    """
    cluster = turned_house
    with cluster.worker(DDSR_BATCH_SIZE="1"):
        unread = cluster.submit()
        assert cluster.end(unread) == "done"
        job = cluster.submit("pause:0.6")
        cluster.running(job)
        clock.turn(-HOUR)
        assert cluster.end(job) == "done"
        assert cluster.proves(job)
        clock.turn(0)
        until(lambda: ready(cluster), 30)  # the worker's announcement expired with the jump; a second later it is back
        running = cluster.submit("pause:0.6")
        cluster.running(running)
        waiting = cluster.submit("a dog")
        clock.turn(HOUR)
        assert cluster.end(running) == "done"
        assert cluster.proves(running)
        assert cluster.end(waiting) == "expired"
        assert cluster.state(unread) == "expired"
        assert cluster.job(unread, "/result").status_code == 410
        until(lambda: ready(cluster), 30)
        assert cluster.end(cluster.submit()) == "done"
