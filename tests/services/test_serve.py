"""The services as processes: without torch, under uvicorn, with their logs, their refusals and their clients' whims."""

import json
import os
import re
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.common.serve import serve
from services.sender.app import SenderSettings, create_app
from shared.settings import QueueSettings
from tests.services.conftest import PROMPT, hide_form, wait_until
from tests.services.live import live

ASYNC = {"Prefer": "respond-async"}
BLOCKED = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "diffusers", "transformers", "scipy"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
try:
    import torch
except ImportError:
    pass
else:
    sys.exit("torch is not blocked")

from starlette.testclient import TestClient
from services.receiver.app import create_app as receiver
from services.common.serve import serve
from services.sender.app import create_app as sender

for create in (sender, receiver):
    with TestClient(create(), base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/openapi.json").status_code == 200
        assert client.get("/readyz").status_code == 503
print("both apps ran")
"""


def environment(folder: Path, **changes: str) -> dict[str, str]:
    keep = {name: value for name, value in os.environ.items() if not name.startswith("DDSR_")}
    nowhere = "unix://" + str(folder / "no.sock")
    return {**keep, "REDIS_URL": nowhere, "DDSR_SERVICE_KEYS": str(folder / "keys"), **changes}


def test_both_apps_run_without_torch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKED],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "both apps ran\n", done.stderr


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"DDSR_HOST": "0.0.0.0"}, "DDSR_API_KEYS"),
        ({"DDSR_API_KEYS": "a-key-in-the-clear"}, "entry 1"),
        ({"DDSR_API_KEYS_FILE": "/no/such/file"}, "No such file"),
        ({"DDSR_RATE_LIMIT": "many"}, "parse"),
        ({"DDSR_MAX_WAIT": "in-the-clear"}, "max_wait"),
    ],
)
def test_what_does_not_start(
    tmp_path: Path,
    changes: dict[str, str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {"DDSR_SERVICE_KEYS": str(tmp_path), **changes}.items():
        monkeypatch.setenv(name, value)
    assert serve(SenderSettings, create_app) == 2
    printed = capsys.readouterr().err
    assert "refusing to start" in printed
    assert reason in printed
    assert "in-the-clear" not in printed


@pytest.mark.parametrize("service", ["sender", "receiver"])
def test_a_process_serves_logs_and_stops(tmp_path: Path, service: str) -> None:
    """A query string, a header and a wrong body leave no trace in anything that the process prints."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", f"services.{service}"]
    variables = {f"DDSR_{service.upper()}_PORT": str(port), "DDSR_LOG_LEVEL": "debug"}
    with subprocess.Popen(
        command,
        env=environment(tmp_path, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=allow_core_dumps,
    ) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                wait_until(lambda: _answers(client), bool, seconds=120)
                path = {"sender": "/hide", "receiver": "/recover"}[service]
                assert client.post(f"{path}?identity_prompt={PROMPT}").status_code == 400
                assert client.post(path, json={"identity_prompt": PROMPT}).status_code == 503  # no Redis
                job = client.get(f"/jobs/{PROMPT}?wait={PROMPT}", headers={"X-API-Key": PROMPT})
                assert job.status_code == 503
                assert "server" not in client.get("/livez").headers
                limits = Path(f"/proc/{process.pid}/limits").read_text()
                assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
        finally:
            process.terminate()
            out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == ""
    assert "Ullapool" not in err
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    routes = {line["route"] for line in lines if line["event"] == "request"}
    assert routes >= {"/livez", path, "/jobs/{job_id}"}


def allow_core_dumps() -> None:
    """In a new process: as large as its parent may make them."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def test_a_client_that_leaves_cancels_its_job(queue: QueueSettings, worker: None) -> None:
    app = create_app(SenderSettings(), queue)
    store = app.state.context.store
    submitted: list[Any] = []
    submit = store.submit
    store.submit = lambda *args, **kwargs: submitted.append(submit(*args, **kwargs)) or submitted[-1]
    with live(app) as address:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(address + "/hide", **hide_form(steps=180), timeout=httpx.Timeout(20, read=0.7))
        job = wait_until(lambda: submitted, bool)[0].id
        ended = wait_until(lambda: store.view(job, owner="local"), lambda view: view.terminal)
        assert ended.state == "cancelled"


def test_a_client_that_leaves_but_can_come_back_keeps_its_job(queue: QueueSettings, worker: None) -> None:
    with live(create_app(SenderSettings(), queue)) as address:
        headers = {"Idempotency-Key": "come-back"}
        form = hide_form(steps=60)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(address + "/hide", **form, headers=headers, timeout=httpx.Timeout(20, read=0.3))

        def again() -> httpx.Response:
            return httpx.post(address + "/hide", **form, headers=headers, timeout=20)

        assert again().status_code == 409
        assert wait_until(again, lambda answer: answer.status_code != 409).status_code == 200


def test_waiting_holds_no_thread(queue: QueueSettings, worker: None) -> None:
    """More waiting clients than any pool has threads, and the service still answers."""
    with live(create_app(SenderSettings(rate_limit=""), queue)) as address:
        job = httpx.post(address + "/hide", **hide_form(steps=180), headers=ASYNC).headers["Location"]
        waiting = []
        for _ in range(60):
            connection = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
            connection.sendall(f"GET {job}?wait=100 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            waiting.append(connection)
        assert httpx.get(address + "/readyz", timeout=20).status_code == 200
        assert httpx.delete(address + job, timeout=20).json()["state"] == "cancelled"
        for connection in waiting:
            assert b"200 OK" in connection.recv(64)
            connection.close()
