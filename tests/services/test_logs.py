"""What the services print: one JSON object a line, without the text of an unforeseen error."""

import json
import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from services.common.keys import new_key
from services.sender.app import SenderSettings, create_app
from shared.logs import configure_libraries, make_log, where
from stack.redis_server import RedisServer
from tests.services.conftest import Clients, local_client
from tests.worker.support import queue_settings


@pytest.fixture
def restored() -> Iterator[None]:
    """The root logger as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_events_are_json_lines_above_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    log = make_log("sender", "warning")
    log.info("quiet")
    log.warning("loud", job="abc")
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["job"], event["service"]) == ("loud", "abc", "sender")


@pytest.mark.parametrize(("level", "routes"), [("info", ["/version"]), ("debug", ["/livez", "/readyz", "/version"])])
def test_probes_are_logged_at_debug(
    own_server: RedisServer, capsys: pytest.CaptureFixture[str], level: str, routes: list[str]
) -> None:
    with local_client(create_app(SenderSettings(log_level=level), queue_settings(own_server))) as client:
        for path in ("/livez", "/readyz", "/version"):
            client.get(path)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["route"] for line in lines if line["event"] == "request"] == routes


def test_a_librarys_traceback_is_cut_to_type_and_place(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    configure_libraries("sender")
    try:
        raise ValueError("canary")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
        logging.getLogger("uvicorn.access").info("canary")
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert event["error"] == "ValueError"
    assert event["at"].startswith("test_logs.py:")
    assert "canary" not in line


def test_where_is_the_innermost_place() -> None:
    def inner() -> None:
        raise KeyError("canary")

    with pytest.raises(KeyError) as caught:
        inner()
    found = where(caught.value)
    assert found["error"] == "KeyError"
    assert found["at"].endswith(str(inner.__code__.co_firstlineno + 1))


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def requests_logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "request"]


def test_a_request_is_logged_with_key_code_and_the_names_that_its_caller_gave(
    sender: Clients, capsys: pytest.CaptureFixture[str]
) -> None:
    key, line = new_key("alice")
    client = sender(api_keys=(line,))
    capsys.readouterr()
    names = {"X-Request-ID": "order-17.a", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    answer = client.get(f"/jobs/{'0' * 32}", headers={"X-API-Key": key, **names})
    assert answer.headers["X-Request-ID"] == "order-17.a"
    assert answer.json()["instance"] == "urn:ddsr:request:order-17.a"
    client.get("/jobs/1?identity_prompt=canary", headers={"X-API-Key": key})
    client.get("/version")
    missing, secret, alive = requests_logged(capsys)
    found = {name: missing[name] for name in ("request_id", "key", "code", "trace_id", "span_id", "status")}
    assert found == {
        "request_id": "order-17.a",
        "key": "alice",
        "code": "job-not-found",
        "trace_id": TRACE,
        "span_id": "00f067aa0ba902b7",
        "status": 404,
    }
    assert (secret["code"], secret["status"]) == ("secret-in-query", 400)
    assert not {"key", "code", "trace_id"} & set(alive)


@pytest.mark.parametrize("name", ["x" * 65, "a b", "ä", "a/b", ""])
def test_other_names_are_not_taken_up(name: str, sender: Clients, capsys: pytest.CaptureFixture[str]) -> None:
    client = sender()
    capsys.readouterr()
    headers = {"X-Request-ID": name.encode(), "traceparent": b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01"}
    own = client.get("/version", headers=headers).headers["X-Request-ID"]
    assert uuid.UUID(own)
    (line,) = requests_logged(capsys)
    assert (line["request_id"], "trace_id" in line) == (own, False)
