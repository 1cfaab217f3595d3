"""Webhooks that lead where they must not, or to somebody who does not want them."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.faults.cluster import Cluster
from tests.worker.support import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


class Listener(BaseHTTPRequestHandler):
    """Answers with the status that the path names, and keeps what it got."""

    got: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((self.path, body))
        code = int(self.path.strip("/"))
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "/200")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def listener() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    got: list[tuple[str, bytes]] = []
    handler = type("Handler", (Listener,), {"got": got})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()


def pending(cluster: Cluster, job: str) -> bool:
    """Whether the webhook of a job is still to be sent."""
    with cluster.store() as store:
        return store.zscore("ddsr:webhooks", job) is not None or bool(store.hexists(f"ddsr:job:{job}", "webhook"))


def test_a_webhook_to_a_private_address(staffed: Cluster, listener: tuple[str, list[tuple[str, bytes]]]) -> None:
    """Refused when it is submitted, so that nobody waits for a call that never comes."""
    url, got = listener
    answer = staffed.post(webhook=f"{url}/200")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-option")
    assert got == []
    assert url not in answer.text + staffed.log("sender")


def test_redirects_refusals_and_410(cluster: Cluster, listener: tuple[str, list[tuple[str, bytes]]]) -> None:
    """A redirect is not followed and tried again later; 410 is taken at its word; neither touches the job."""
    url, got = listener
    cluster.dismiss()
    with cluster.worker(DDSR_WEBHOOK_ALLOW_PRIVATE="1"):
        good, redirect, unwanted = (cluster.submit(webhook=f"{url}/{code}") for code in (200, 302, 410))
        assert [cluster.end(job) for job in (good, redirect, unwanted)] == ["done"] * 3
        until(lambda: len(got) >= 3 and not pending(cluster, good) and not pending(cluster, unwanted), 30)
        assert sorted(path for path, _ in got) == ["/200", "/302", "/410"]
        assert pending(cluster, redirect)
        with cluster.store() as store:  # the next attempt, 5 seconds early
            store.zadd("ddsr:webhooks", {redirect: 0})
        until(lambda: len(got) == 4, 30)
    assert got[3][0] == "/302"
    assert {json.loads(body)["data"]["id"] for _, body in got} == {good, redirect, unwanted}
    assert all(set(json.loads(body)) == {"type", "timestamp", "data"} for _, body in got)
