"""`ddsr up` as a process: ready in order, useful, restarted, gone with its supervisor."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from ddsr_client import Client
from shared.settings import StackSettings
from stack.redis_server import find_redis, write_redis_config
from stack.stack import Stack, threads_each
from stack.supervisor import StartError
from stack.temporary import free_settings
from tests.pictures import encoded, pixels
from tests.worker.support import ROOT, face, until

pytestmark = pytest.mark.timeout(300)


def settings(folder: Path) -> StackSettings:
    return free_settings(folder / "state")


def test_hide_and_recover_through_the_stack(tmp_path: Path) -> None:
    log = io.StringIO()
    stack = Stack(settings(tmp_path), log, worker_module="tests.worker.arithmetic")
    try:
        stack.start()
        secret = "blue door, third floor"
        with Client(stack.sender_url, stack.receiver_url, timeout=60) as client:
            stego = client.hide(encoded(face()), secret, "a cat")
            assert np.array_equal(pixels(client.recover(stego, secret).data), face())
            assert not np.array_equal(pixels(client.recover(stego, "x").data), face())
        os.kill(stack.supervisor.pids()["sender"], signal.SIGKILL)
        old = stack.supervisor.pids()["sender"]
        until(lambda: stack.supervisor.check() or stack.supervisor.pids()["sender"] != old)
        with httpx.Client(timeout=60) as client:
            until(lambda: _is_live(client, stack.sender_url))
    finally:
        stack.stop()
    assert "blue door" not in log.getvalue()
    assert not stack.supervisor.pids()


PROGRAM = (
    "import sys; from pathlib import Path; from cli import up; from tests.e2e.test_stack import settings; "
    "sys.exit(up.run(settings(Path(sys.argv[1])), worker_module='tests.worker.arithmetic'))"
)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_end_of_up_takes_everything_down(tmp_path: Path, number: signal.Signals) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    log = tmp_path / "log"
    with open(log, "wb") as stream:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream)
    until(lambda: "Ctrl-C ends" in log.read_text() or process.poll() is not None, seconds=120)
    pids = [int(number) for number in re.findall(r"is ready \(pid (\d+)\)", log.read_text())]
    assert len(pids) == 4, log.read_text()
    process.send_signal(number)
    assert process.wait(60) == (0 if number == signal.SIGINT else -number)
    until(lambda: not any(_alive(pid) for pid in pids), seconds=60)
    state = tmp_path / "state"
    assert (state / "keys" / "worker" / "0001.key").stat().st_mode & 0o077 == 0
    assert (state / "redis").stat().st_mode & 0o077 == 0


def test_only_one_stack_a_folder(tmp_path: Path) -> None:
    one, two = (Stack(settings(tmp_path), io.StringIO(), redis_url="unix:///nowhere") for _ in range(2))
    with pytest.raises(StartError, match="REDIS_URL"):
        one.start()
    with pytest.raises(StartError, match="another stack"):
        two.start()
    one.stop()


def test_redis_configuration_is_private(tmp_path: Path) -> None:
    config = write_redis_config(tmp_path, tmp_path / "r.sock", "secret")
    assert config.stat().st_mode & 0o077 == 0
    text = config.read_text()
    assert "port 0" in text
    assert "requirepass secret" in text
    assert "noeviction" in text


def test_redis_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(find_redis()).name == "valkey-server"
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis() == str(server)


def _is_live(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(f"{url}/livez").status_code == 200
    except httpx.TransportError:
        time.sleep(0.05)
        return False


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert [threads_each(count) for count in (0, 1, 2, 3, 20)] == [8, 8, 4, 2, 1]
