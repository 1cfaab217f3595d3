"""What the services print: one JSON object a line, without the text of an unforeseen error."""

import json
import logging
from collections.abc import Iterator

import pytest

from services.common.logs import configure_libraries, make_log, where
from services.sender.app import SenderSettings, create_app
from tests.services.conftest import local_client
from tests.worker.redis_server import RedisServer
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
