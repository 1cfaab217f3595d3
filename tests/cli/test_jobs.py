"""`ddsr jobs` against running services."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from cli.main import app
from ddsr_client import Client, Secret
from tests.client.conftest import Addresses, own_server, queue, services, shared_server, worker
from tests.services.conftest import DISGUISE, encoded, face

__all__ = ["own_server", "queue", "services", "shared_server", "worker"]

SECRET = Secret("the red kite over Ullapool")


@pytest.fixture
def client(services: Addresses, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("DDSR_SENDER_URL", services.sender)
    monkeypatch.setenv("DDSR_RECEIVER_URL", services.receiver)
    with Client() as found:
        yield found


@dataclass(frozen=True)
class Ended:
    code: int
    said: str  # on standard output
    complained: list[str]  # lines on standard error, where the services of this process write too


def ddsr(*words: str) -> Ended:
    found = CliRunner().invoke(app, ["jobs", *words])
    lines = [line for line in found.stderr.splitlines() if not line.startswith("{")]
    return Ended(found.exit_code, found.stdout, lines)


def test_list_show_wait_and_cancel(client: Client) -> None:
    hiding = client.submit_hide(encoded(face()), SECRET, DISGUISE)
    waited = ddsr("wait", hiding.id)
    assert (waited.code, waited.said.split()[:3]) == (0, [hiding.id, "hide", "done"])
    recovery = client.submit_recover(hiding.result(), SECRET)
    assert ddsr("wait", recovery.id).code == 0, "found at the receiver"
    lines = [line.split() for line in ddsr("list").said.splitlines()]
    assert lines[0][:3] == [hiding.id, "hide", "done"]
    assert next(line[0] for line in lines if line[1] == "recover") == recovery.id
    (only,) = ddsr("list", "--kind", "recover", "--limit", "1", "--json").said.splitlines()
    assert json.loads(only)["id"] == recovery.id
    long = client.submit_hide(encoded(face()), SECRET, DISGUISE, steps=180)
    assert long.id in ddsr("list", "--state", "queued", "--state", "running").said
    assert json.loads(ddsr("show", long.id, "--json").said)["state"] in ("queued", "running")
    assert "cancelled" in ddsr("cancel", long.id).said
    assert ddsr("wait", long.id).code == 3


def test_a_job_that_does_not_open_ends_with_its_own_code(client: Client) -> None:
    stego = client.hide(encoded(face(128)), SECRET, DISGUISE, scheme="sealed")
    refused = client.submit_recover(stego, "wrong")
    ended = ddsr("wait", refused.id)
    assert (ended.code, "not-authentic" in ended.said) == (5, True)


def test_what_cannot_be_done_is_one_line(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ddsr("show", "0" * 32)
    assert (missing.code, len(missing.complained)) == (1, 1)
    assert ddsr("list", "--state", "lost").code == 2
    assert ddsr("list", "--kind", "x").code == 2
    monkeypatch.setenv("DDSR_SENDER_URL", "http://127.0.0.1:9")
    away = ddsr("list")
    assert (away.code, "no answer" in away.complained[0]) == (3, True)
