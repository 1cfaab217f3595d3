"""Webhooks against a real HTTP server on this machine."""

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from shared.envelope import Keyring
from shared.jobs import JobResult, JobStore
from shared.jobs import scripts as records
from shared.jobs.due import DueWebhooks
from shared.logs import make_log
from stack.redis_server import RedisServer
from tests.shared.test_jobs import abandon, make_lease, take
from tests.worker.support import OWNER, announce, hide_request, make_store, until
from worker.delivery import Refused, deliver
from worker.metrics import WorkerMetrics
from worker.outbox import DELAYS, SENDERS, Outbox

LOG = make_log("worker", "error")
SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtMTIzNA=="


class Receiver(ThreadingHTTPServer):
    """Keeps what it gets; the path tells it the status to answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.quick = threading.Event()
        self.waited: list[bool] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def dribble(self) -> None:
        """An answer that takes five seconds, and never pauses for long."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        with contextlib.suppress(OSError):
            for _ in range(50):
                time.sleep(0.1)
                self.wfile.write(b"x")
            self.wfile.write(b"\r\nContent-Length: 0\r\n\r\n")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        if self.path == "/dribble":
            return self.dribble()
        if self.path == "/slow":
            self.server.waited.append(self.server.quick.wait(10))
            return None
        self.server.quick.set()
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


def test_an_answer_that_dribbles_is_cut_off(receiver: Receiver) -> None:
    """Each byte comes in time, the whole does not; even what came of it is no answer."""
    with pytest.raises(TimeoutError):
        deliver(f"{receiver.url}/dribble", "0123", "done", SECRET, allow_private=True, seconds=1)
    assert len(receiver.got) == 1


def test_a_handshake_that_dribbles_is_cut_off() -> None:
    """One byte of a TLS record at a time, each in time."""
    done = threading.Event()

    def dribble(listener: socket.socket) -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as connection:
            connection.sendall(b"\x16\x03\x03\x20\x00")
            for _ in range(50):
                time.sleep(0.1)
                connection.sendall(b"\x00")
            done.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        thread = threading.Thread(target=dribble, args=(listener,))
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(TimeoutError):
            deliver(url, "0123", "done", SECRET, allow_private=True, seconds=1)
        thread.join()
    assert not done.is_set()


def test_a_handshake_that_never_ends_is_cut_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"https://127.0.0.1:{mute.getsockname()[1]}/"
        with pytest.raises(TimeoutError):
            deliver(url, "0123", "done", SECRET, allow_private=True, seconds=0.5)


def test_a_slow_receiver_holds_up_nobody_else(server: RedisServer, receiver: Receiver) -> None:
    announce(server)
    store, due = make_store(server), make_due(server)
    outbox = Outbox(due, SECRET, allow_private=True, metrics=WorkerMetrics(), log=LOG)
    slow = [store.submit("hide", hide_request(), owner=OWNER, webhook=f"{receiver.url}/slow").id for _ in range(3)]
    quick = store.submit("hide", hide_request(), owner=OWNER, webhook=f"{receiver.url}/200").id
    for job in (*slow, quick):
        store.cancel(job, owner=OWNER)
        server.client().zadd(records.WEBHOOKS, {job: 1 if job in slow else 2})
    outbox.send_due()
    until(lambda: len(receiver.waited) == 3)
    assert all(receiver.waited), "the quick one was told while the slow ones kept their senders"
    until(lambda: not server.client().hexists(records.record_key(quick), "webhook"))


def test_there_are_so_many_senders(server: RedisServer, receiver: Receiver) -> None:
    """Those that find none free wait, and lose nothing."""
    announce(server)
    store, due = make_store(server), make_due(server)
    outbox = Outbox(due, SECRET, allow_private=True, metrics=WorkerMetrics(), log=LOG)
    for number in range(SENDERS + 2):
        url = f"{receiver.url}/{'slow' if number < SENDERS else 200}"
        job = store.submit("hide", hide_request(), owner=OWNER, webhook=url)
        store.cancel(job.id, owner=OWNER)
        server.client().zadd(records.WEBHOOKS, {job.id: number})
    outbox.send_due()
    until(lambda: len(receiver.got) == SENDERS)
    outbox.send_due()
    assert [path for path, _, _ in receiver.got] == ["/slow"] * SENDERS
    receiver.quick.set()
    until(lambda: outbox.send_due() or len(receiver.got) == SENDERS + 2)


def test_a_name_is_resolved_once_and_called_at_the_address_that_was_checked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve, asked = socket.getaddrinfo, []

    def resolving(host: str, *arguments: Any, **options: Any) -> Any:
        asked.append(host)
        return resolve("127.0.0.1" if host == "changes-its-mind.example" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolving)
    url = f"http://changes-its-mind.example:{receiver.server_port}/200"
    deliver(url, "0123", "done", SECRET, allow_private=True)
    assert receiver.got[0][1]["host"] == f"changes-its-mind.example:{receiver.server_port}"
    assert asked == ["changes-its-mind.example", "127.0.0.1"]
    with pytest.raises(Refused, match="private"):
        deliver(url, "0123", "done", SECRET, allow_private=False)
    assert len(receiver.got) == 1


def test_a_certificate_must_be_trusted_and_of_the_name(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = certified("localhost", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    url = f"https://localhost:{receiver.server_port}/200"
    with pytest.raises(httpcore.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        deliver(url, "0123", "done", SECRET, allow_private=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(httpcore.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        deliver(url.replace("localhost", "127.0.0.1"), "0123", "done", SECRET, allow_private=True)
    assert not receiver.got
    deliver(url, "0123", "done", SECRET, allow_private=True)
    assert len(receiver.got) == 1


def certified(name: str, folder: Path) -> tuple[Path, Path]:
    """Files of a certificate for this name, signed by itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.mark.parametrize("code", [302, 404, 410, 500])
def test_only_2xx_counts_and_no_redirect_is_followed(receiver: Receiver, code: int) -> None:
    with pytest.raises(Refused, match=str(code)):
        deliver(f"{receiver.url}/{code}", "0123", "done", SECRET, allow_private=True)
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::10.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::10.0.0.1]",
        "[2002:a00:1::1]",
        "[2002:808:808::1]",
        "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
        "[fec0::1]",
        "[fd00::1]",
        "[fe80::1]",
        "[::10.0.0.1]",
    ],
)
def test_private_addresses_are_refused(host: str) -> None:
    with pytest.raises(Refused, match="private"):
        deliver(f"http://{host}:9/", "0123", "done", SECRET, allow_private=False)


def make_due(server: RedisServer) -> DueWebhooks:
    return DueWebhooks(server.client(), Keyring.load_or_create(server.folder / "keys" / "worker"))


def send(outbox: Outbox) -> None:
    """Send what is due, and wait for the threads that do."""
    outbox.send_due()
    for thread in threading.enumerate():
        if thread.name == "webhook":
            thread.join(60)


def test_outbox_retries_and_then_forgets(server: RedisServer, receiver: Receiver) -> None:
    announce(server)
    store, due = make_store(server), make_due(server)
    client = server.client()
    outbox = Outbox(due, SECRET, allow_private=True, metrics=WorkerMetrics(), log=LOG)
    good = store.submit("hide", hide_request(), owner=OWNER, webhook=f"{receiver.url}/200")
    send(outbox)
    assert not receiver.got
    lease = make_lease(server)
    lease.done(take(lease, good.id), JobResult(b"", "image/png", None, 1.0))
    send(outbox)
    assert json.loads(receiver.got[0][2])["data"] == {"id": good.id, "status": "done"}
    assert said(store, good.id) == ("sent", None)
    assert not client.exists(records.WEBHOOKS)
    assert receiver.url.encode() not in b"".join(client.hgetall(records.record_key(good.id)).values())  # type: ignore[union-attr]

    bad = store.submit("hide", hide_request(), owner=OWNER, webhook=f"{receiver.url}/500")
    store.cancel(bad.id, owner=OWNER)
    for attempt in range(1, len(DELAYS) + 2):
        assert said(store, bad.id) == ("pending", None)
        send(outbox)
        send(outbox)
        assert len(receiver.got) == 1 + attempt
        if client.exists(records.WEBHOOKS):
            client.zadd(records.WEBHOOKS, {bad.id: 0})
    assert not client.exists(records.WEBHOOKS)
    assert not client.hexists(records.record_key(bad.id), "webhook")
    assert said(store, bad.id) == ("given-up", "the webhook answered 500")
    ids = {headers["webhook-id"] for path, headers, _ in receiver.got if path == "/500"}
    assert ids == {f"msg_{bad.id}"}


def said(store: JobStore, job_id: str) -> tuple[str | None, str | None]:
    """What the job's owner reads of its webhook."""
    view = store.view(job_id, owner=OWNER)
    return view.webhook, view.webhook_reason


def test_a_webhook_that_ends_after_its_record_leaves_none(server: RedisServer) -> None:
    make_due(server).end("0" * 32, "given-up", "no answer")
    assert not server.client().keys("ddsr:job:*")


def test_410_is_taken_at_its_word(server: RedisServer, receiver: Receiver) -> None:
    """And a private address is not asked for again either."""
    announce(server)
    store, due = make_store(server), make_due(server)
    log, metrics = LOG, WorkerMetrics()
    reasons = ("the webhook answered 410", "the webhook leads to a private address")
    for allow, reason in zip((True, False), reasons, strict=True):
        job = store.submit("hide", hide_request(), owner=OWNER, webhook=f"{receiver.url}/410")
        store.cancel(job.id, owner=OWNER)
        send(Outbox(due, SECRET, allow_private=allow, metrics=metrics, log=log))
        assert said(store, job.id) == ("given-up", reason)
        assert len(receiver.got) == 1
        assert not server.client().exists(records.WEBHOOKS)
        assert not server.client().hexists(records.record_key(job.id), "webhook")


def test_a_job_that_nobody_took_ends_without_being_asked_for(server: RedisServer, receiver: Receiver) -> None:
    """Its webhook is told, and with or without one its sealed request goes; a job that waits or runs is left alone."""
    announce(server)
    store, lease, client = make_store(server), make_lease(server), server.client()
    outbox = Outbox(make_due(server), SECRET, allow_private=True, metrics=WorkerMetrics(), log=LOG)
    url = f"{receiver.url}/200"
    webhooks = (url, url, url, None)
    patient, begun, told, silent = (
        store.submit("hide", hide_request(), owner=OWNER, webhook=webhook).id for webhook in webhooks
    )
    running = take(lease, begun)
    abandon(server, told, silent)
    assert {job.id for job in lease.reap(60)} == {told, silent}
    send(outbox)
    assert [json.loads(body)["data"] for _, _, body in receiver.got] == [{"id": told, "status": "expired"}]
    assert not client.exists(records.request_key(told), records.request_key(silent), records.WEBHOOKS)
    assert set(client.zrange(records.LEASES, 0, -1)) == {patient.encode(), begun.encode()}  # type: ignore[arg-type]
    assert store.view(silent, owner=OWNER).state == "expired"
    assert [store.view(job, owner=OWNER).state for job in (patient, begun)] == ["queued", "running"]
    lease.done(running, JobResult(b"", "image/png", None, 1.0))
    send(outbox)
    assert json.loads(receiver.got[-1][2])["data"] == {"id": begun, "status": "done"}
    assert client.zrange(records.LEASES, 0, -1) == [patient.encode()]


def test_a_forged_entry_stops_no_webhook(server: RedisServer, receiver: Receiver) -> None:
    announce(server)
    store, due, client = make_store(server), make_due(server), server.client()
    jobs = [store.submit("hide", hide_request(), owner=OWNER, webhook=f"{receiver.url}/200").id for _ in range(3)]
    for job in jobs:
        store.cancel(job, owner=OWNER)
    client.hset(records.record_key(jobs[0]), "webhook", b"nonsense")
    client.delete(records.record_key(jobs[1]))
    client.rpush(records.record_key(jobs[1]), "not a hash")
    client.zadd(records.WEBHOOKS, {jobs[0]: 1, jobs[1]: 2, b"\xff": 3, jobs[2]: 4})
    send(Outbox(due, SECRET, allow_private=True, metrics=WorkerMetrics(), log=LOG))
    assert [json.loads(body)["data"]["id"] for _, _, body in receiver.got] == [jobs[2]]
    assert not client.exists(records.WEBHOOKS)
