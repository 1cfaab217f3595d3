"""A job after its submission: waiting, result, cancelling, events, idempotency, webhooks."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.common.keys import new_key
from tests.services.conftest import Clients, hide_form, wait_until

ASYNC = {"Prefer": "respond-async"}
SLOW = 180  # steps of a job that nobody waits for to its end


@pytest.fixture
def client(sender: Clients) -> TestClient:
    return sender()


def test_respond_async(client: TestClient) -> None:
    answer = client.post("/hide", **hide_form(), headers=ASYNC)
    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert answer.headers["Retry-After"] == "2"
    job = answer.json()
    address = answer.headers["Location"]
    assert address == job["links"]["self"] == f"/jobs/{job['id']}"
    ended = client.get(address, params={"wait": 20}).json()
    assert (ended["state"], ended["error"], ended["position"]) == ("done", None, None)
    picture = client.get(ended["links"]["result"])
    assert picture.status_code == 200
    assert picture.headers["DDSR-Recipe"].startswith("ddsr3.")
    again = client.get(ended["links"]["result"])  # a dropped connection may be repaired for a minute
    assert again.content == picture.content


def test_respond_async_of_a_job_that_was_quicker_than_the_answer(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found under load: 200 with the picture and without `Location`, one time in a thousand."""
    context = client.app.state.context  # type: ignore[attr-defined]
    submit, store = context.store.submit, context.store

    def until_its_end(*arguments: Any, **options: Any) -> Any:
        job = submit(*arguments, **options).id
        wait_until(lambda: store.view(job, owner=options["owner"]).terminal, bool)
        return store.view(job, owner=options["owner"])

    monkeypatch.setattr(store, "submit", until_its_end)
    answer = client.post("/hide", **hide_form(), headers=ASYNC)
    assert (answer.status_code, answer.json()["state"]) == (202, "done")
    assert client.get(answer.headers["Location"] + "/result").status_code == 200


def test_wait_that_is_too_short(client: TestClient) -> None:
    answer = client.post("/hide", **hide_form(steps=SLOW), headers={"Prefer": "wait=0"})
    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "wait=0"
    early = client.get(answer.headers["Location"] + "/result")
    assert (early.status_code, early.json()["code"]) == (409, "job-not-ready")
    assert client.delete(answer.headers["Location"]).json()["state"] == "cancelled"


def test_wait_that_is_long_enough(client: TestClient) -> None:
    answer = client.post("/hide", **hide_form(), headers={"Prefer": "wait=20"})
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "wait=20"


def test_cancelling_a_running_job(client: TestClient) -> None:
    address = client.post("/hide", **hide_form(steps=SLOW), headers=ASYNC).headers["Location"]
    running = wait_until(lambda: client.get(address).json(), lambda job: job["state"] == "running" and job["step"])
    assert 0 < running["step"] < running["steps"] == SLOW
    assert client.delete(address).json()["state"] == "cancelled"
    assert client.delete(address).json()["state"] == "cancelled"
    gone = client.get(address + "/result")
    assert (gone.status_code, gone.json()["code"]) == (409, "job-cancelled")
    assert client.post("/hide", **hide_form()).status_code == 200  # the worker is free again, long before SLOW


def test_cancelling_a_queued_job(client: TestClient) -> None:
    first, second = (
        client.post("/hide", **hide_form(steps=SLOW + more), headers=ASYNC).headers["Location"] for more in (0, 1)
    )
    wait_until(lambda: client.get(first).json()["state"], lambda state: state == "running")
    waiting = client.get(second).json()
    assert (waiting["state"], waiting["position"]) == ("queued", 1)
    assert client.delete(second).json()["state"] == "cancelled"
    assert client.delete(first).json()["state"] == "cancelled"


def test_events_tell_every_stage(client: TestClient) -> None:
    address = client.post("/hide", **hide_form(steps=60), headers=ASYNC).headers["Location"]
    with client.stream("GET", address + "/events") as stream:
        assert stream.status_code == 200
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.headers["Cache-Control"] == "no-store"
        events = list(_events(stream.iter_lines()))
    names = [name for name, _ in events]
    assert set(names) <= {"queued", "running", "done"}
    assert names[-1] == "done"
    steps = [job["step"] for name, job in events if name == "running" and job["step"]]
    assert steps == sorted(steps)
    assert len(steps) >= 2


def test_a_browser_that_was_told_of_the_end_is_told_to_stop(client: TestClient) -> None:
    """`EventSource` reconnects when a stream ends, with the id of the last event; only 204 makes it stop."""
    address = client.post("/hide", **hide_form(), headers=ASYNC).headers["Location"] + "/events"
    with client.stream("GET", address) as stream:
        ids = [line.removeprefix("id: ") for line in stream.iter_lines() if line.startswith("id: ")]
    assert ids[-1] == "done"
    again = client.get(address, headers={"Last-Event-ID": ids[-1]})
    assert (again.status_code, again.content) == (204, b"")
    for earlier in ("running", "queued", ""):
        late = client.get(address, headers={"Last-Event-ID": earlier})
        assert (late.status_code, late.text.count("event: done")) == (200, 1)


def _events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def test_an_expired_result_is_gone(sender: Clients, queue: Any) -> None:
    client = sender()
    job = client.post("/hide", **hide_form(), headers=ASYNC).json()["id"]
    assert client.get(f"/jobs/{job}?wait=20").json()["state"] == "done"
    store = client.app.state.context.store  # type: ignore[attr-defined]
    store._redis.delete(f"ddsr:job:{job}:result")  # as its expiry would
    gone = client.get(f"/jobs/{job}/result")
    assert (gone.status_code, gone.json()["code"]) == (410, "job-gone")
    assert client.get(f"/jobs/{job}").json()["state"] == "expired"


@pytest.mark.parametrize("name", ["0" * 32, "nonsense", "0" * 32 + ":request", "%2e%2e", "%00", "ä"])
def test_unknown_jobs(client: TestClient, name: str) -> None:
    for suffix in ("", "/result", "/events"):
        answer = client.get(f"/jobs/{name}{suffix}")
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_the_other_service_does_not_know_the_job(client: TestClient, receiver: Clients) -> None:
    address = client.post("/hide", **hide_form(), headers=ASYNC).headers["Location"]
    assert client.get(address + "?wait=20").status_code == 200
    assert receiver().get(address).status_code == 404
    assert receiver().get(address + "/result").status_code == 404


def test_a_caller_sees_the_jobs_of_its_own_key_only(sender: Clients, receiver: Clients) -> None:
    (alice, alices), (bob, bobs) = new_key("alice.of.this.test"), new_key("bob.of.this.test")
    service, other = sender(api_keys=(alices, bobs)), receiver(api_keys=(alices, bobs))

    def listed(key: str, at: TestClient = service, **query: Any) -> list[str]:
        answer = at.get("/jobs", params=query, headers={"X-API-Key": key})
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["jobs"]]

    def submit(key: str) -> str:
        answer = service.post("/hide", **hide_form(), headers=ASYNC | {"X-API-Key": key})
        return str(answer.json()["id"])

    hers, his = [submit(alice) for _ in range(3)], submit(bob)
    assert listed(alice) == hers[::-1]
    assert listed(bob) == [his]
    assert listed(alice, other) == [], "jobs of the other service"
    assert service.get("/jobs").status_code == 401
    first = service.get("/jobs", params={"limit": 2}, headers={"X-API-Key": alice}).json()
    assert [job["id"] for job in first["jobs"]] == hers[:0:-1]
    assert listed(alice, cursor=first["next"]) == hers[:1]
    assert listed(bob, cursor=first["next"], state=["queued", "running"]) == [], "his is newer, whosever the cursor is"
    by_itself = service.get(f"/jobs/{hers[0]}", params={"wait": 20}, headers={"X-API-Key": alice}).json()
    (ended,) = service.get("/jobs", params={"cursor": first["next"]}, headers={"X-API-Key": alice}).json()["jobs"]
    assert ended == by_itself
    assert hers[0] in listed(alice, state="done")
    assert service.request("HEAD", "/jobs", headers={"X-API-Key": alice}).status_code == 200


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "state=lost", "cursor=x", "cursor=" + "1" * 16 + "-" + "G" * 32]
)
def test_unusable_pages(client: TestClient, query: str) -> None:
    answer = client.get(f"/jobs?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")


def test_idempotency(client: TestClient) -> None:
    slow = {"Idempotency-Key": "one", "Prefer": "respond-async"}
    form = hide_form(steps=100)
    first = client.post("/hide", **form, headers=slow)
    assert first.status_code == 202
    conflict = client.post("/hide", **form, headers=slow)
    assert (conflict.status_code, conflict.json()["code"]) == (409, "idempotency-conflict")
    assert conflict.json()["job"] == first.json()["id"]
    for change in ({"identity_prompt": "another"}, {"disguise_prompt": "another pause:0.02"}, {"steps": 5}):
        other = client.post("/hide", **hide_form(**{"steps": 100, **change}), headers=slow)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-mismatch")
    assert client.get(first.headers["Location"] + "?wait=20").json()["state"] == "done"
    replay = client.post("/hide", **form, headers={"Idempotency-Key": "one"})
    assert replay.status_code == 200
    assert replay.headers["DDSR-Job"] == first.json()["id"]


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256])
def test_unusable_idempotency_keys(client: TestClient, key: str) -> None:
    answer = client.post("/hide", **hide_form(), headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")


def test_a_webhook_is_called_with_id_and_status_only(client: TestClient) -> None:
    received: list[dict[str, Any]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing on standard error."""

    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/hook"
        job = client.post("/hide", **hide_form(webhook=address), headers=ASYNC).json()["id"]
        news = wait_until(
            lambda: client.get(f"/jobs/{job}").json()["webhook"], lambda found: found["state"] != "pending"
        )
        server.shutdown()
    assert news == {"state": "sent", "reason": None}
    assert received[0]["data"] == {"id": job, "status": "done"}


@pytest.mark.parametrize("url", ["ftp://example.org", "not a url", "http://user:pass@example.org/"])
def test_unusable_webhooks(client: TestClient, url: str) -> None:
    answer = client.post("/hide", **hide_form(webhook=url))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-option")
