"""Webhooks against a real HTTP server on this machine."""

import base64
import json
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from shared import jobs_records as records
from shared.errors import InvalidOption
from shared.jobs import JobResult
from shared.webhooks import Refused, check_url, deliver, load_secret
from tests.shared.test_jobs import make_desk
from tests.worker.redis_server import RedisServer
from tests.worker.support import OWNER, announce, hide_request, make_store
from worker.logs import configure
from worker.metrics import WorkerMetrics
from worker.outbox import DELAYS, Outbox

SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtMTIzNA=="


class Receiver(ThreadingHTTPServer):
    """Keeps what it gets; the path tells it the status to answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        code = int(self.path.split("/")[1].split("?")[0] or 200)
        self.send_response(code)
        if code == 302:
            self.send_header("location", self.server.url + "/200")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_signed_and_without_content(receiver: Receiver) -> None:
    deliver(f"{receiver.url}/200?x=1", "0123", "done", SECRET, allow_private=True)
    path, headers, body = receiver.got[0]
    assert path == "/200?x=1"
    told = Webhook(SECRET).verify(body, headers)
    assert told["data"] == {"id": "0123", "status": "done"}
    assert told["type"] == "job.done"
    assert set(told) == {"type", "timestamp", "data"}
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b"0123", b"0124"), headers)


@pytest.mark.parametrize("code", [302, 404, 410, 500])
def test_only_2xx_counts_and_no_redirect_is_followed(receiver: Receiver, code: int) -> None:
    with pytest.raises(Refused, match=str(code)):
        deliver(f"{receiver.url}/{code}", "0123", "done", SECRET, allow_private=True)
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "192.168.1.1", "169.254.169.254", "[::ffff:10.0.0.1]"],
)
def test_private_addresses_are_refused(host: str) -> None:
    with pytest.raises(Refused, match="private"):
        deliver(f"http://{host}:9/", "0123", "done", SECRET, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org",
        "http://",
        "http://user:pw@example.org/",
        "http://example.org/#f",
        "http://example.org:99999/",
        "http://exa mple.org/",
        "http://example.org/\r\nx: y",
        "http://example.org/" + "a" * 3000,
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InvalidOption):
        check_url(url)


def test_the_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "webhook.secret"
    secret = load_secret(path)
    assert load_secret(path) == secret
    assert secret.startswith("whsec_")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32


def test_outbox_retries_and_then_forgets(server: RedisServer, receiver: Receiver) -> None:
    announce(server)
    store, desk = make_store(server), make_desk(server)
    client = server.client()
    outbox = Outbox(desk, SECRET, allow_private=True, metrics=WorkerMetrics(), log=configure("error"))
    good = store.submit("hide", hide_request(), owner=OWNER, webhook=f"{receiver.url}/200")
    assert not outbox.send_one()
    desk.claim(good.id, "e1", "w1")
    desk.done(desk.open(good.id, "hide", "e1"), JobResult(b"", "image/png", None, 1.0))
    assert outbox.send_one()
    assert json.loads(receiver.got[0][2])["data"] == {"id": good.id, "status": "done"}
    assert not client.exists(records.WEBHOOKS)
    assert receiver.url.encode() not in b"".join(client.hgetall(records.record_key(good.id)).values())  # type: ignore[union-attr]

    bad = store.submit("hide", hide_request(), owner=OWNER, webhook=f"{receiver.url}/500")
    store.cancel(bad.id, owner=OWNER)
    for _ in range(len(DELAYS) + 1):
        assert outbox.send_one()
        assert not outbox.send_one()
        if client.exists(records.WEBHOOKS):
            client.zadd(records.WEBHOOKS, {bad.id: 0})
    assert not client.exists(records.WEBHOOKS)
    assert not client.hexists(records.record_key(bad.id), "webhook")
    ids = {headers["webhook-id"] for path, headers, _ in receiver.got if path == "/500"}
    assert ids == {f"msg_{bad.id}"}


def test_410_is_taken_at_its_word(server: RedisServer, receiver: Receiver) -> None:
    """And a private address is not asked for again either."""
    announce(server)
    store, desk = make_store(server), make_desk(server)
    log, metrics = configure("error"), WorkerMetrics()
    for allow, told in ((True, 1), (False, 1)):
        job = store.submit("hide", hide_request(), owner=OWNER, webhook=f"{receiver.url}/410")
        store.cancel(job.id, owner=OWNER)
        assert Outbox(desk, SECRET, allow_private=allow, metrics=metrics, log=log).send_one()
        assert len(receiver.got) == told
        assert not server.client().exists(records.WEBHOOKS)
        assert not server.client().hexists(records.record_key(job.id), "webhook")
