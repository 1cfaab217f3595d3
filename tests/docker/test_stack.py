"""The containers' processes without containers: the environment of the compose file, its secrets, its Redis.

Only paths and addresses are others, and the worker has a small model.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import httpx
import pytest
import redis
import yaml

from stack.redis_server import find_redis
from stack.temporary import free_ports
from tests.docker.test_secrets import maker
from tests.pictures import encoded, pixels
from tests.services.conftest import PROMPT, face, hide_form, wait_until

__all__ = ["maker"]

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
INSIDE = "/var/lib/ddsr"


class Containers:
    """Processes with what their containers would get; `folder` takes the place of every volume."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.redis, self.sender, self.receiver, self.metrics = free_ports(4)

    def start(self, name: str, command: list[str]) -> None:
        log = self._stack.enter_context((self.folder / f"{name}.log").open("wb"))
        environment = {**os.environ, **self._environment(name)}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        self._stack.callback(process.wait, 30)
        self._stack.callback(process.send_signal, signal.SIGKILL)

    def _environment(self, name: str) -> dict[str, str]:
        given = {key: _default(str(value)) for key, value in COMPOSE[name].get("environment", {}).items()}
        for volume in COMPOSE[name]["volumes"]:
            source, target = volume.split(":")[:2]
            place = self.folder / (source if source.endswith("-keys") and source != "api-keys" else Path(target).name)
            given = {key: value.replace(target, str(place)) for key, value in given.items()}
        given = {key: value.replace("@redis:6379/", f"@127.0.0.1:{self.redis}/") for key, value in given.items()}
        assert not [value for value in given.values() if INSIDE in value]
        ports = {
            "DDSR_SENDER_PORT": self.sender,
            "DDSR_RECEIVER_PORT": self.receiver,
            "DDSR_METRICS_PORT": self.metrics,
        }
        here = {key: str(port) for key, port in ports.items()}
        return {**given, **here, **({"DDSR_HOST": "127.0.0.1"} if "DDSR_HOST" in given else {})}

    def secret(self, name: str) -> str:
        return (self.folder / name).read_text().strip()

    def client(self, port: int, key: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"}
        return self._stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120)
        )


@pytest.fixture(scope="module")
def containers(maker: ModuleType) -> Iterator[Containers]:
    folder = Path(tempfile.mkdtemp(prefix="ddsr-"))
    maker.make(folder, ROOT / "stack/redis.conf")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        found = Containers(folder, stack)
        here = ["--port", str(found.redis), "--bind", "127.0.0.1", "--dir", str(folder)]
        found.start("redis", [find_redis(), str(folder / "redis/redis.conf"), *here])
        wait_until(lambda: _answers(found.redis), bool)
        found.start("worker", [sys.executable, "-m", "tests.worker.arithmetic"])
        wait_until((folder / "worker-public/worker.pub").exists, bool, 120)
        for name in ("sender", "receiver"):
            found.start(name, [sys.executable, *COMPOSE[name]["command"][1:]])
        for port in (found.sender, found.receiver):
            wait_until(lambda port=port: _ready(port), bool, 120)  # type: ignore[misc]
        yield found


def _default(value: str) -> str:
    """What Compose makes of `${NAME:-default}` where nobody sets NAME."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def _answers(port: int) -> bool:
    """As the health check of the container asks."""
    with redis.Redis(port=port, username="probe", password="none") as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_face_goes_there_and_back_and_nobody_was_refused_by_redis(containers: Containers) -> None:
    key = containers.secret("caller/api.key")
    sender, receiver = containers.client(containers.sender, key), containers.client(containers.receiver, key)
    original = face(seed=5)
    hidden = sender.post("/hide", **hide_form(image=encoded(original)))
    assert hidden.status_code == 200, hidden.text
    form = {"data": {"identity_prompt": PROMPT}, "files": {"stego": ("stego.png", hidden.content)}}
    found = receiver.post("/recover", **form)
    assert found.status_code == 200, found.text
    assert (pixels(found.content) == original).all()
    password = containers.secret("redis/admin.password")
    with redis.Redis(port=containers.redis, username="admin", password=password) as admin:
        refused = [(entry["username"], entry["object"]) for entry in admin.acl_log()]
        assert not [
            entry for entry in refused if entry[0] != "probe"
        ]  # redis-py introduces itself, valkey-cli does not
        assert not [name for name in admin.keys("*") if PROMPT.encode() in name]


def test_without_a_key_nobody_is_served(containers: Containers) -> None:
    stranger = containers.client(containers.sender, "none")
    assert stranger.post("/hide", **hide_form()).status_code == 401
    assert stranger.get("/metrics").status_code == 401


def test_prometheus_gets_in_with_its_key_and_no_further(containers: Containers) -> None:
    key = containers.secret("prometheus/api.key")
    for port in (containers.sender, containers.receiver):
        client = containers.client(port, key)
        assert "\nddsr_workers 1.0" in client.get("/metrics").text
        assert client.get("/jobs/" + "0" * 32).status_code == 401
    assert "ddsr_model_info" in httpx.get(f"http://127.0.0.1:{containers.metrics}/metrics", timeout=30).text


def test_each_part_made_its_own_keys_and_made_them_private(containers: Containers) -> None:
    files = [containers.folder / name / "0001.key" for name in ("sender-keys", "receiver-keys", "worker-keys")]
    assert len({path.read_text() for path in files}) == 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o400}
