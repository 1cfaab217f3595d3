"""What one caller, or a stranger, can take of a service: looks at its health, places to wait, upload slots."""

import socket
import threading

import httpx
import pytest

from services.common.keys import new_key
from services.sender.app import SenderSettings, create_app
from shared.jobs import QueueHealth
from shared.settings import QueueSettings
from tests.services.conftest import Clients, hide_form, wait_until
from tests.services.live import live

ASYNC = {"Prefer": "respond-async"}
SLOW = 180  # steps of a job that nobody waits for to its end


def test_health_is_looked_up_once_a_second_however_many_ask(sender: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    client = sender()
    store = client.app.state.context.store  # type: ignore[attr-defined]
    look, looks = store.health, []

    def counted() -> QueueHealth:
        looks.append(threading.get_ident())
        return look()  # type: ignore[no-any-return]

    monkeypatch.setattr(store, "health", counted)
    monkeypatch.setattr("services.common.context.HEALTH_SECONDS", 600.0)
    assert {client.get(path).status_code for path in ("/readyz", "/version") * 20} == {200}
    assert len(looks) == 1
    monkeypatch.setattr("services.common.context.HEALTH_SECONDS", 0.0)
    assert client.get("/readyz").status_code == 200
    assert len(looks) == 2


def test_strangers_who_ask_for_health_take_no_thread_of_the_callers(
    queue: QueueSettings, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty of them while Redis answers slowly, and a job can be cancelled all the same."""
    app = create_app(SenderSettings(rate_limit=""), queue)
    store = app.state.context.store
    look, slow = store.health, threading.Event()

    def slowly() -> QueueHealth:
        slow.wait(30)
        return look()  # type: ignore[no-any-return]

    with live(app) as address:
        job = httpx.post(address + "/hide", **hide_form(steps=SLOW), headers=ASYNC).headers["Location"]
        monkeypatch.setattr(store, "health", slowly)
        asked = []
        for _ in range(60):
            connection = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            asked.append(connection)
        assert httpx.delete(address + job, timeout=20).json()["state"] == "cancelled"
        slow.set()
        for connection in asked:
            assert b"200 OK" in connection.recv(64)
            connection.close()


def test_more_than_may_wait_are_answered_at_once(sender: Clients) -> None:
    client = sender(max_waiting=1)
    waiting = client.app.state.context.waiting  # type: ignore[attr-defined]
    job = client.post("/hide", **hide_form(steps=SLOW), headers=ASYNC).headers["Location"]
    first = threading.Thread(target=client.get, args=(job,), kwargs={"params": {"wait": 60}})
    first.start()
    wait_until(lambda: waiting["local"], bool)
    assert client.get(job, params={"wait": 60}).json()["state"] in ("queued", "running")
    second = client.post("/hide", **hide_form(steps=SLOW))
    assert second.status_code == 202
    assert first.is_alive(), "nobody waited for the first to end"
    for address in (job, second.headers["Location"]):
        client.delete(address)
    first.join(30)
    assert waiting.total() == 0
    assert client.post("/hide", **hide_form()).status_code == 200


def test_streams_take_the_places_and_give_them_back(queue: QueueSettings, worker: None) -> None:
    app = create_app(SenderSettings(rate_limit="", max_waiting=2), queue)
    waiting = app.state.context.waiting
    with live(app) as address, httpx.Client(base_url=address, timeout=30) as client:
        job = client.post("/hide", **hide_form(steps=SLOW), headers=ASYNC).headers["Location"]
        with client.stream("GET", job + "/events") as one, client.stream("GET", job + "/events") as two:
            assert {one.status_code, two.status_code} == {200}
            assert waiting["local"] == 2
            refused = client.get(job + "/events")
            assert (refused.status_code, refused.json()["code"]) == (429, "rate-limited")
            assert refused.headers["Retry-After"] == "2"
        wait_until(waiting.total, lambda found: found == 0)
        with client.stream("GET", job + "/events") as again:
            assert again.status_code == 200
            client.delete(job)
            assert "event: cancelled" in again.read().decode()
        wait_until(waiting.total, lambda found: found == 0)


def keyed(queue: QueueSettings, *names: str) -> tuple[SenderSettings, dict[str, dict[str, str]]]:
    made = {name: new_key(name) for name in names}
    settings = SenderSettings(api_keys=tuple(line for _, line in made.values()), max_uploads=2)
    return settings, {name: {"X-API-Key": key} for name, (key, _) in made.items()}


@pytest.mark.parametrize(("names", "status"), [(("alice", "bob"), 503), (("alice",), 200)])
def test_one_of_several_keys_has_half_of_the_upload_slots(
    queue: QueueSettings, worker: None, names: tuple[str, ...], status: int
) -> None:
    settings, keys = keyed(queue, *names)
    app = create_app(settings, queue)
    uploads = app.state.context.uploads
    with live(app) as address:
        head = (
            f"POST /hide HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {keys['alice']['X-API-Key']}\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9999\r\n\r\n--x\r\n"
        )
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as dawdler:
            dawdler.sendall(head.encode())
            wait_until(lambda: uploads["alice"], bool)
            again = httpx.post(address + "/hide", **hide_form(), headers=keys["alice"], timeout=30)
            assert again.status_code == status
            others = [
                httpx.post(address + "/hide", **hide_form(), headers=keys[name], timeout=30) for name in names[1:]
            ]
            assert all(answer.status_code == 200 for answer in others)
        wait_until(uploads.total, lambda found: found == 0)
