"""Bytes, uploads at a time, rates, the queue's length; and what is said when Redis or the worker is away."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from services.common.rate_limits import KEY_PREFIX
from services.sender.app import SenderSettings, create_app
from shared.settings import QueueSettings
from stack.redis_server import RedisServer
from tests.pictures import encoded
from tests.services.conftest import Clients, face, hide_form, local_client
from tests.services.test_problems import check
from tests.worker.support import announce, queue_settings

ASYNC = {"Prefer": "respond-async"}


def test_a_body_too_large_by_its_own_account(sender: Clients) -> None:
    client = sender(max_body_bytes=2048)
    refused = client.post("/hide", **hide_form(image=bytes(4000)))
    check(refused, 413, "body-too-large")
    assert "2048 bytes" in refused.json()["detail"]


def test_a_body_is_counted_as_it_arrives(sender: Clients) -> None:
    """Chunked, hence without a `Content-Length`: the rest is not even asked for."""
    asked: list[int] = []

    def chunks() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for number in range(1000):
            asked.append(number)
            yield bytes(1024)

    client = sender(max_body_bytes=4096)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    check(client.post("/hide", content=chunks(), headers=headers), 413, "body-too-large")


def test_a_body_that_dawdles(sender: Clients) -> None:
    client = sender(upload_seconds=0.000001)
    check(client.post("/hide", **hide_form()), 408, "slow-upload")


def test_uploads_at_a_time(sender: Clients) -> None:
    client = sender(max_uploads=1)
    context = client.app.state.context  # type: ignore[attr-defined]
    context.uploads["local"] = 1
    answer = client.post("/hide", **hide_form())
    check(answer, 503, "too-busy")
    assert answer.headers["Retry-After"] == "2"
    context.uploads["local"] = 0
    assert client.post("/hide", **hide_form()).status_code == 200
    assert context.uploads.total() == 0


def test_a_slot_is_free_while_its_job_waits(sender: Clients) -> None:
    """Every end of a request gives the slot back, also the unhappy ones."""
    client = sender(max_uploads=1)
    context = client.app.state.context  # type: ignore[attr-defined]
    for change in ({"identity_prompt": None}, {"image": b"no"}, {"identity_prompt": "x" * 300}):
        assert client.post("/hide", **hide_form(**change)).status_code >= 400
        assert context.uploads.total() == 0


@pytest.fixture
def uncounted(shared_server: RedisServer) -> Iterator[None]:
    """No request was counted before, and none is after. Services may not list keys: the administrator does."""
    with shared_server.client() as client:
        client.delete("none", *client.keys(f"{KEY_PREFIX}*"))
        yield
        assert client.delete(*client.keys(f"{KEY_PREFIX}*"))


def test_rate_limits(sender: Clients, uncounted: None) -> None:
    client = sender(rate_limit="2/hour", poll_limit="")
    statuses = [client.post("/hide", **hide_form(image=b"no")).status_code for _ in range(3)]
    assert statuses == [415, 415, 429]
    answer = client.post("/hide", **hide_form())
    check(answer, 429, "rate-limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 7200


@pytest.fixture
def lonely(shared_server: RedisServer, tmp_path: Path) -> Iterator[TestClient]:
    """A sender with a Redis but, on its queue, no worker that it trusts."""
    nobody = tmp_path / "trusted"
    nobody.write_text("")
    queue = QueueSettings(
        redis_url=shared_server.service_url, queue="lonely", service_keys=tmp_path / "keys", worker_keys_file=nobody
    )
    with local_client(create_app(SenderSettings(), queue)) as client:
        yield client


def test_without_a_worker(lonely: TestClient) -> None:
    answer = lonely.post("/hide", **hide_form())
    check(answer, 503, "no-worker")
    assert answer.headers["Retry-After"] == "5"
    check(lonely.get("/readyz"), 503, "not-ready")
    assert lonely.get("/livez").json() == {"status": "ok"}
    assert lonely.get("/version").json()["model"] is None


def test_readyz_says_what_is_missing(own_server: RedisServer, tmp_path: Path) -> None:
    """A service of its own for each look: an answer is good for a second."""
    announce(own_server)
    pins = tmp_path / "worker.pub"

    def ready(**changes: Any) -> Any:
        with local_client(create_app(SenderSettings(), queue_settings(own_server, **changes))) as client:
            posted = client.post("/hide", **hide_form())
            answer = client.get("/readyz")
            return answer.status_code, answer.json().get("detail", ""), posted.json()["code"]

    with own_server.client() as admin:
        pins.write_text("nonsense")
        no_key = "the file of the workers' public keys holds something that is no public key"
        assert ready(worker_keys_file=pins) == (500, no_key, "key-file")
        admin.config_set("maxmemory", 1)
        assert ready() == (503, "Redis' memory is full", "queue-full")
        admin.config_set("maxmemory", 0)
        admin.replicaof("127.0.0.1", "1")
        assert ready() == (503, "Redis is a read-only replica", "queue-unavailable")


def test_a_full_queue(queue: QueueSettings, worker: None) -> None:
    """The worker is on another queue of the same Redis, so that its key is known and nothing is taken."""
    full = queue.model_copy(update={"queue": "full", "queue_limit": 1})
    with local_client(create_app(SenderSettings(), full)) as client:
        first = client.post("/hide", **hide_form(), headers=ASYNC)
        assert first.status_code == 202
        text = client.get("/metrics").text
        assert "ddsr_queue_length 1.0" in text
        assert float(text.partition("\nddsr_queue_oldest_seconds ")[2].split()[0]) > 0
        answer = client.post("/hide", **hide_form(), headers=ASYNC)
        check(answer, 503, "queue-full")
        assert answer.headers["Retry-After"] == "10"
        assert client.delete(first.headers["Location"]).status_code == 200


def test_without_redis(own_server: RedisServer) -> None:
    with local_client(create_app(SenderSettings(), queue_settings(own_server))) as client:
        assert "ddsr_redis_up 1.0" in client.get("/metrics").text
        own_server.stop(kill=True)
        answer = client.post("/hide", **hide_form(image=encoded(face())))
        check(answer, 503, "queue-unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        check(client.get("/jobs/" + "0" * 32), 503, "queue-unavailable")
        check(client.get("/readyz"), 503, "not-ready")
        assert client.get("/livez").status_code == 200
        assert "ddsr_redis_up 0.0" in client.get("/metrics").text


def test_metrics_count_routes_and_codes(sender: Clients) -> None:
    client = sender()
    client.post("/hide", **hide_form())
    client.get("/nothing/of/this/name")
    client.get("/jobs/nonsense")
    text = client.get("/metrics").text
    assert 'ddsr_http_requests_total{method="POST",route="/hide",status="200"} 1.0' in text
    assert 'ddsr_http_requests_total{method="GET",route="unmatched",status="404"} 1.0' in text
    assert 'ddsr_http_requests_total{method="GET",route="/jobs/{job_id}",status="404"} 1.0' in text
    assert 'ddsr_http_problems_total{code="job-not-found"} 1.0' in text
    assert 'ddsr_jobs_submitted_total{kind="hide"} 1.0' in text
    assert "ddsr_workers 1.0" in text
    assert "nonsense" not in text
