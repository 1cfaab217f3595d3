"""Which addresses a webhook may have, and the secret that signs its messages."""

import base64
import stat
from pathlib import Path

import pytest

from shared.errors import InvalidOption
from shared.webhooks import check_public, check_url, is_public, load_secret
from stack.redis_server import RedisServer
from tests.worker.support import OWNER, announce, hide_request, make_store


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "a.localhost.",
        "10.1.2.3",
        "[::1]",
        "[fd00::1]",
        "169.254.169.254",
        "127.1",
        "0x7f000001",
    ],
)
def test_an_address_that_no_worker_calls_is_refused_at_once(host: str, server: RedisServer) -> None:
    url = f"http://{host}:8080/hook"
    with pytest.raises(InvalidOption, match="private"):
        check_public(url)
    announce(server, private_webhooks=False)
    store = make_store(server)
    with pytest.raises(InvalidOption, match="private"):
        store.submit("hide", hide_request(), owner=OWNER, webhook=url)
    announce(server, name="w2", private_webhooks=True)
    assert store.submit("hide", hide_request(), owner=OWNER, webhook=url).state == "queued"


def test_public_addresses_and_names_are_taken() -> None:
    for host in ("example.org", "93.184.216.34", "[2606:4700::1111]", "localhost.example.org"):
        check_public(f"https://{host}/hook")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"])
def test_public_addresses_are_not(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org",
        "http://",
        "http://user:pw@example.org/",
        "http://example.org/#f",
        "http://example.org:99999/",
        "http://exa mple.org/",
        "http://example.org/\r\nx: y",
        "http://example.org/" + "a" * 3000,
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InvalidOption):
        check_url(url)


def test_the_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "webhook.secret"
    secret = load_secret(path)
    assert load_secret(path) == secret
    assert secret.startswith("whsec_")
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
