"""Both services against their OpenAPI documents: all phases of schemathesis, with keys, over real sockets."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.jobs import JobStore, open_redis
from shared.jobs.scripts import request_key
from tests.fuzz.conftest import EXAMPLES, LONG, OWNER, Fleet
from tests.worker.support import ROOT, ended

pytestmark = pytest.mark.timeout(300)

SHORT_EXAMPLES = 5


def run_schemathesis(address: str, key: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(Path(__file__).with_name("schemathesis.toml")),
    ]
    command += ["run", f"{address}/openapi.json", "--header", f"X-API-Key: {key}"]
    command += ["--max-examples", str(EXAMPLES or SHORT_EXAMPLES), "--request-timeout", "60"]
    command += [] if LONG else ["--seed", "1"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "DDSR_FUZZ_FOLDER": str(folder)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("service", ["sender", "receiver"])
def test_requests_of_every_kind_are_answered_as_documented(service: str, fleet: Fleet, folder: Path) -> None:
    done = run_schemathesis(getattr(fleet, service), fleet.key, folder)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    calls: list[dict[str, Any]] = [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]
    assert not [call for call in calls if call["leak"]]
    seen = {(call["operation"], call["status"]) for call in calls}
    submit = "POST /hide" if service == "sender" else "POST /recover"
    assert {(submit, status) for status in (202, 415, 422)} <= seen
    assert {(f"GET /jobs/{{job_id}}{part}", 200) for part in ("", "/events")} <= seen
    assert ("DELETE /jobs/{job_id}", 200) in seen
    refused = [call for call in calls if call["valid"] and call["status"] not in (200, 202)]
    # an Idempotency-Key may come back after its job was deleted: it repeats that job's end
    keys = {"idempotency-mismatch", "idempotency-conflict", "job-cancelled"}
    assert {call["code"] for call in refused} <= keys | {"no-face"}
    accepted = {call["job"] for call in calls if call["job"]}
    assert len(accepted) >= 10
    _assert_all_end(fleet, accepted)


OPEN = {"GET /livez", "GET /readyz", "GET /version", "GET /"}


@pytest.mark.parametrize("service", ["sender", "receiver"])
def test_every_operation_asks_for_a_key(service: str, fleet: Fleet) -> None:
    """Schemathesis sends the right one always; the document calls keys optional, as they are where none are set."""
    address = getattr(fleet, service)
    with httpx.Client(base_url=address, timeout=60) as client:
        paths = client.get("/openapi.json").json()["paths"]
        asked = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods} - OPEN
        assert len(asked) >= 6
        for operation in sorted(asked):
            method, path = operation.replace("{job_id}", "0" * 32).split()
            for headers in ({}, {"X-API-Key": "ddsr_wrong"}, {"Authorization": "Bearer ddsr_wrong"}):
                answer = client.request(method, path, headers=headers)
                assert answer.status_code == 401, operation
                assert answer.json()["code"] == "unauthenticated"


def _assert_all_end(fleet: Fleet, jobs: set[str]) -> None:
    """Every accepted job ends, none with an error that nobody foresaw, and no sealed request stays behind."""
    with open_redis(fleet.queue) as connection:
        store = JobStore(connection, fleet.queue)
        ends = [ended(store, job, 240, owner=OWNER) for job in sorted(jobs)]
        assert {view.state for view in ends} <= {"done", "cancelled", "expired", "failed"}
        assert "done" in {view.state for view in ends}
        assert {view.error_code for view in ends} <= {None, "prompt-too-long"}
        assert not [name for job in jobs if connection.exists(name := request_key(job))]
