"""`ddsr doctor` before a real Redis, a real worker and a tiny model: what is well, and each thing that is not."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from services.sender.app import SenderSettings, create_app
from shared.diffusion.model import DiffusionModel
from shared.diffusion.tiny import build_tiny
from shared.envelope import Keyring
from stack.redis_server import RedisServer
from stack.temporary import free_ports
from tests.services.live import live
from tests.worker.support import announce, queue_settings

Checks = dict[str, dict[str, str]]
SECRET = "canary-4711"


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs it where nothing else of this machine is seen; gives the checks by name and the exit code."""
    sender, receiver = free_ports(2)
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("DDSR_SENDER_PORT", str(sender))
    monkeypatch.setenv("DDSR_RECEIVER_PORT", str(receiver))

    def run(*words: str) -> tuple[Checks, int, str]:
        done = CliRunner().invoke(app, ["doctor", "--json", *words])
        said = json.loads(done.stdout)
        checks = {check["name"]: check for check in said["checks"]}
        assert said["ok"] == (done.exit_code == 0)
        return checks, done.exit_code, done.output

    return run


def test_where_nothing_runs_nothing_is_broken_and_nothing_is_made(doctor: Any, tmp_path: Path) -> None:
    checks, code, _ = doctor("--no-model")
    assert code == 0
    assert checks["core packages"]["state"] == "ok"
    assert "torch" in checks["worker packages"]["detail"]
    assert [checks[name]["state"] for name in ("key files", "redis", "sender", "receiver")] == ["note"] * 4
    assert not (tmp_path / "state").exists()


def test_the_model_loads_or_is_broken(doctor: Any, tmp_path: Path) -> None:
    folder = build_tiny(tmp_path / "tiny")
    checks, code, _ = doctor("--model", str(folder))
    assert code == 0
    assert checks["model"]["detail"].startswith(f"{DiffusionModel.load(folder).fingerprint}, 32x32 pixels")
    assert checks["device"]["state"] == "ok"
    assert doctor("--model", str(tmp_path))[1] == 3
    checks, code, _ = doctor("--model", str(folder), "--device", "cuda:99")
    assert (code, checks["device"]["state"]) == (3, "broken")


def test_redis_workers_and_services(doctor: Any, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", server.url)
    checks, code, _ = doctor("--no-model")
    assert (code, checks["redis"]["state"], checks["workers"]["state"]) == (3, "ok", "broken")
    announce(server)
    with live(create_app(SenderSettings(), queue_settings(server))) as address:
        monkeypatch.setenv("DDSR_SENDER_PORT", address.rpartition(":")[2])
        checks, code, said = doctor("--no-model")
    assert (code, checks["worker"]["state"], checks["sender"]["state"]) == (0, "ok", "ok")
    assert "a" * 16 in checks["worker"]["detail"]
    assert server.password not in said


def test_a_redis_that_is_away_is_broken_and_its_password_is_not_shown(
    doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    [port] = free_ports(1)
    monkeypatch.setenv("REDIS_URL", f"redis://:{SECRET}@127.0.0.1:{port}/0")
    checks, code, said = doctor("--no-model")
    assert (code, checks["redis"]["state"]) == (3, "broken")
    assert f"127.0.0.1:{port}" in checks["redis"]["detail"]
    assert SECRET not in said


def test_a_redis_that_drops_keys_is_broken(
    doctor: Any, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    monkeypatch.setenv("REDIS_URL", own_server.url)
    checks, code, _ = doctor("--no-model")
    assert (code, checks["redis"]["state"]) == (3, "broken")
    assert "noeviction" in checks["redis"]["detail"]


def test_key_files_that_others_may_read_are_broken(doctor: Any, tmp_path: Path) -> None:
    folder = tmp_path / "state" / "ddsr" / "keys" / "worker"
    Keyring.load_or_create(folder)
    checks, code, _ = doctor("--no-model")
    assert (code, checks["key files"]["state"]) == (0, "ok")
    [key] = folder.glob("*.key")
    key.chmod(0o644)
    checks, code, said = doctor("--no-model")
    assert (code, checks["key files"]["state"]) == (3, "broken")
    assert "0600" in checks["key files"]["detail"]
    assert key.read_text().strip() not in said
    assert stat.S_IMODE(key.stat().st_mode) == 0o644, "it mends nothing"


def test_a_setting_that_cannot_be_read_is_named_without_its_value(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDSR_SENDER_PORT", SECRET)
    checks, code, said = doctor("--no-model")
    assert (code, checks["settings"]["state"]) == (3, "broken")
    assert "sender_port" in checks["settings"]["detail"].lower()
    assert SECRET not in said


def test_lines_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    done = CliRunner().invoke(app, ["doctor", "--no-model"])
    states = {line.split()[0] for line in done.output.splitlines()}
    assert states <= {"ok", "note", "broken"}
