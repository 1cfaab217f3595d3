"""API keys: hashing, files, owners, and who needs one."""

import hashlib
from pathlib import Path

import pytest

from services.common.auth import is_loopback
from services.common.keys import ApiKeys, load_keys, main, new_key
from services.common.serve import refusal
from services.common.settings import ServiceSettings
from tests.services.conftest import DISGUISE, PROMPT, Clients, hide_form


def test_a_key_has_an_owner_and_is_not_stored() -> None:
    key, line = new_key("alice")
    ring = load_keys(ServiceSettings(api_keys=(line,)))
    assert ring.owner(key) == "alice"
    assert ring.owner(key + "x") is None
    assert ring.owner("") is None
    assert key not in line
    assert hashlib.sha256(key.encode()).hexdigest() in line


def test_every_entry_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first entry matches and the others are looked at all the same: time tells nothing."""
    compared = []
    monkeypatch.setattr("services.common.keys.hmac.compare_digest", lambda a, b: compared.append(b) or a == b)
    keys = [new_key(name) for name in "abc"]
    ring = load_keys(ServiceSettings(api_keys=tuple(line for _, line in keys)))
    assert ring.owner(keys[0][0]) == "a"
    assert len(compared) == 3


def test_keys_come_from_a_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (one, first), (two, second), (three, third) = (new_key(name) for name in ("a", "b", "c"))
    path = tmp_path / "keys"
    path.write_text(f"# the keys\n{first}  # of a\n\n{second}\n")
    monkeypatch.setenv("DDSR_API_KEYS", f"{third},")
    monkeypatch.setenv("DDSR_API_KEYS_FILE", str(path))
    ring = load_keys(ServiceSettings())
    assert [ring.owner(key) for key in (one, two, three)] == ["a", "b", "c"]


def test_a_malformed_entry_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="entry 1") as caught:
        load_keys(ServiceSettings(api_keys=("ddsr_a-key-in-the-clear",)))
    assert "in-the-clear" not in str(caught.value)


def test_the_command_prints_a_usable_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bob"]) == 0
    key, line = (row.rpartition(": ")[2] for row in capsys.readouterr().out.splitlines())
    assert load_keys(ServiceSettings(api_keys=(line,))).owner(key) == "bob"
    assert main([]) == 2


def test_no_keys_means_none_are_asked_for() -> None:
    assert not ApiKeys()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("example.org", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
    assert (refusal(ServiceSettings(host=host)) is None) is expected
    _, line = new_key("a")
    assert refusal(ServiceSettings(host=host, api_keys=(line,))) is None


def test_who_is_served_with_keys(sender: Clients) -> None:
    key, line = new_key("alice")
    client = sender(api_keys=(line,))
    for headers in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Basic " + key}, {"X-API-Key": ""}):
        answer = client.post("/hide", **hide_form(), headers=headers)
        assert answer.status_code == 401
        assert answer.json()["code"] == "unauthenticated"
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    for headers in ({"X-API-Key": key}, {"Authorization": f"bearer {key}"}):
        assert client.post("/hide", **hide_form(), headers=headers).status_code == 200


def test_metrics_need_a_key_unless_they_are_open(sender: Clients) -> None:
    key, line = new_key("prometheus")
    assert sender(api_keys=(line,)).get("/metrics").status_code == 401
    assert sender(api_keys=(line,)).get("/metrics", headers={"X-API-Key": key}).status_code == 200
    assert sender(api_keys=(line,), metrics_open=True).get("/metrics").status_code == 200
    assert sender(api_keys=(line,)).get("/livez").status_code == 200


def test_a_scrapers_key_opens_metrics_and_nothing_else(sender: Clients) -> None:
    (key, line), (_, callers) = new_key("prometheus", metrics=True), new_key("alice")
    client = sender(api_keys=(line, callers))
    scraper = {"Authorization": f"Bearer {key}"}
    assert client.get("/metrics", headers=scraper).status_code == 200
    assert client.get("/metrics", headers={"Authorization": f"Bearer {key}x"}).status_code == 401
    assert client.get("/jobs/" + "0" * 32, headers=scraper).status_code == 401
    assert client.post("/hide", **hide_form(), headers=scraper).status_code == 401
    assert sender(api_keys=(line,)).get("/jobs/" + "0" * 32).status_code == 401, "a scraper's key alone asks for keys"


def test_without_keys_a_rebound_name_is_refused(sender: Clients) -> None:
    client = sender()
    assert client.get("/jobs/" + "0" * 32, headers={"Host": "evil.example"}).status_code == 401
    assert client.get("/jobs/" + "0" * 32, headers={"Host": "[::1"}).status_code == 401
    assert client.get("/jobs/" + "0" * 32, headers={"Host": "localhost:8001"}).status_code == 404


def test_a_job_belongs_to_its_key(sender: Clients) -> None:
    (alice, one), (bob, two) = new_key("alice"), new_key("bob")
    client = sender(api_keys=(one, two))
    headers = {"X-API-Key": alice, "Prefer": "respond-async"}
    address = client.post("/hide", **hide_form(), headers=headers).headers["Location"]
    for path in (address, address + "/result", address + "/events"):
        answer = client.get(path, headers={"X-API-Key": bob})
        assert (answer.status_code, answer.json()["code"]) == (404, "job-not-found")
    assert client.delete(address, headers={"X-API-Key": bob}).status_code == 404
    assert client.get(address + "?wait=20", headers={"X-API-Key": alice}).json()["state"] == "done"
    assert PROMPT not in address
    assert DISGUISE not in address
