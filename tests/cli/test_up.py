"""What `ddsr up` is told: options, else the environment, else the defaults."""

import http.server
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from shared.settings import StackSettings
from stack.parts import is_ok

ENVIRONMENT = {
    "DDSR_HOST": "127.0.0.2",
    "DDSR_SENDER_PORT": "9001",
    "DDSR_RECEIVER_PORT": "9002",
    "DDSR_METRICS_PORT": "0",
    "DDSR_WORKERS": "3",
    "DDSR_STATE": "here",
}
SHOWN = ("host", "sender_port", "receiver_port", "metrics_port", "workers")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[StackSettings]:
    """The settings of the stacks that would have been run; in a folder of its own, without settings."""
    found: list[StackSettings] = []
    monkeypatch.setattr("cli.up.run", lambda settings: found.append(settings) or 0)
    monkeypatch.chdir(tmp_path)
    for name in StackSettings.model_fields:
        monkeypatch.delenv(f"DDSR_{name.upper()}", raising=False)
    return found


def up(*words: str, **environment: str) -> tuple[int, str]:
    ended = CliRunner().invoke(app, ["up", *words], env=environment)
    return ended.exit_code, ended.output


def test_without_options_the_environment_counts(started: list[StackSettings], tmp_path: Path) -> None:
    assert up(**ENVIRONMENT)[0] == 0
    (settings,) = started
    assert [str(getattr(settings, name)) for name in SHOWN] == [ENVIRONMENT[f"DDSR_{n.upper()}"] for n in SHOWN]
    assert settings.state == tmp_path / "here"


def test_options_win_and_the_rest_is_default(started: list[StackSettings], tmp_path: Path) -> None:
    words = ["--host", "::1", "--sender-port", "1", "--receiver-port", "2", "--metrics-port", "4", "--workers", "5"]
    assert up(*words, "--state", "there", **ENVIRONMENT)[0] == 0
    assert up()[0] == 0
    given, default = started
    assert [getattr(given, name) for name in SHOWN] == ["::1", 1, 2, 4, 5]
    assert given.state == tmp_path / "there"
    assert default == StackSettings(state=default.state)


def test_the_help_shows_the_defaults() -> None:
    code, said = up("--help", COLUMNS="200")
    assert code == 0
    for name in SHOWN:
        (line,) = [line for line in said.splitlines() if f"--{name.replace('_', '-')} " in line and "else" in line]
        assert f"DDSR_{name.upper()}" in line
        assert f"[default: ({StackSettings.model_fields[name].default})]" in line


def test_a_value_that_is_none_is_wrong_usage(started: list[StackSettings]) -> None:
    code, said = up(DDSR_WORKERS="many")
    assert code == 2
    assert "workers" in said
    assert "many" not in said
    assert up("--workers", "65")[0] == 2
    assert not started


def test_readiness_is_asked_past_every_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert is_ok(f"http://127.0.0.1:{server.server_port}/")
        thread.join()
