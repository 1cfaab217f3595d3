"""The page's files, its policy and its switches; CORS; forms of other origins. Chromium is for tests.page."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.receiver.app import ReceiverSettings
from services.sender.app import SenderSettings
from services.sender.page import FILES, STATIC, WORDS, policy
from tests.services.conftest import Clients, hide_form

ROOT = Path(__file__).parents[2]
ORIGIN = "http://127.0.0.1:8001"
PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "prefer"}


def test_the_page_has_a_policy_of_its_own_and_nothing_else_has(sender: Clients) -> None:
    client = sender(receiver_url="https://receiver.example:8443")
    for address, (_, media_type) in FILES.items():
        answer = client.get(address)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, media_type)
        rules = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
        assert rules["default-src"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
        assert rules["connect-src"] == "'self' https://receiver.example:8443"
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert client.head(address).status_code == 200
    assert client.get("/livez").headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert client.get("/page.json").json()["receiver"] == "https://receiver.example:8443"
    assert not {"/", "/page.json"} & client.get("/openapi.json").json()["paths"].keys()


def test_the_files_hold_nothing_inline_and_nothing_from_elsewhere() -> None:
    text = {path.name: path.read_text() for path in STATIC.iterdir()}
    assert set(text) == {path.name for path, _ in FILES.values()} - {WORDS.name}
    html = text["index.html"]
    assert not re.search(r"\son[a-z]+=|\sstyle=|<style|javascript:|<script(?![^>]*\ssrc=)", html)
    for name, content in text.items():
        assert not re.search(r"(?<!xmlns=\")https?://|@import", content), name
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|(local|session)Storage", text["page.js"]
    )


def test_the_words_are_those_of_the_command_line(sender: Clients) -> None:
    words = sender().get("/words.txt").text.split("\n")
    assert words.pop() == ""
    assert len(set(words)) == len(words) == 6**5
    assert all(re.fullmatch("[a-z-]{3,9}", word) for word in words)


def test_the_page_is_told_the_scheme(sender: Clients) -> None:
    assert sender(scheme="sealed").get("/page.json").json()["scheme"] == "sealed"


def test_the_files_are_part_of_the_package() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["services"]
    for path in STATIC.iterdir():
        assert any(fnmatch(str(path.relative_to(ROOT / "services")), pattern) for pattern in patterns), path


def test_the_page_can_be_turned_off(sender: Clients) -> None:
    client = sender(page=False)
    for address in (*FILES, "/page.json"):
        answer = client.get(address)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_the_page_needs_no_key_and_says_that_the_service_does(sender: Clients) -> None:
    client = sender(api_keys=("alice:sha256:" + "0" * 64,))
    assert client.get("/").status_code == 200
    assert client.get("/page.json").json()["keys"] is True
    assert client.post("/hide", **hide_form()).status_code == 401


@pytest.mark.parametrize("value", ["*", "https://a.example/path", "https://a.example; script-src *", "a.example"])
def test_an_address_that_is_no_origin_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        SenderSettings(receiver_url=value)
    with pytest.raises(ValidationError):
        ReceiverSettings(allow_origins=(value,))


def test_without_a_receiver_the_page_may_ask_the_sender_alone() -> None:
    assert "connect-src 'self';" in policy("")


def test_pages_of_other_origins_are_off_by_default(receiver: Clients) -> None:
    client = receiver()
    assert client.options("/recover", headers=PREFLIGHT).status_code == 405
    assert "Access-Control-Allow-Origin" not in client.get("/livez", headers={"Origin": ORIGIN}).headers


def test_allowed_origins_may_send_the_headers_of_the_api_and_read_its_answers(
    receiver: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDSR_ALLOW_ORIGINS", f"https://a.example, {ORIGIN}")
    client = receiver()
    allowed = client.options("/recover", headers=PREFLIGHT)
    assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
    assert "Access-Control-Allow-Credentials" not in allowed.headers
    answer = client.get("/jobs/" + "0" * 32, headers={"Origin": ORIGIN})
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN, "errors are readable too"
    assert "DDSR-Job" in answer.headers["Access-Control-Expose-Headers"]
    stranger = client.options("/recover", headers={**PREFLIGHT, "Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in stranger.headers


@pytest.mark.parametrize(
    ("origin", "settings", "status"),
    [
        ("https://evil.example", {}, 401),
        ("null", {}, 401),
        ("http://[", {}, 401),
        ("http://localhost:8001", {}, 200),
        ("http://[::1]:3000", {}, 200),
        ("https://a.example", {"allow_origins": ("https://a.example",)}, 200),
    ],
)
def test_without_keys_a_form_of_another_site_is_refused(
    sender: Clients, origin: str, settings: dict[str, Any], status: int
) -> None:
    """A browser lets any page post a form to a loopback address; only the answer would be kept from it."""
    answer = sender(**settings).post("/hide", **hide_form(), headers={"Origin": origin})
    assert answer.status_code == status, answer.text
