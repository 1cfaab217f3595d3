"""The search itself: it must find what is there, else every clean report is worth nothing."""

import base64
import zlib
from pathlib import Path

import pytest

from cli.leaks import file_items, redis_items, search
from stack.redis_server import RedisServer

SECRET = b"the blue door, third floor"
HIDDEN = {
    "clear": b"xx" + SECRET + b"yy",
    "base64": b"traceback: " + base64.b64encode(b"a" + SECRET),
    "urlsafe base64": base64.urlsafe_b64encode(b"\xff\xfe\xfd" + SECRET).rstrip(b"="),
    "zlib": b"\x00\x01" + zlib.compress(SECRET * 3) + b"tail",
    "cut zlib": zlib.compress(SECRET + bytes(range(256)) * 20)[:-40],
    "zlib in base64": base64.b64encode(zlib.compress(b"p" + SECRET)),
    "base64 in zlib": zlib.compress(base64.b64encode(SECRET)),
    "base64 after letters": b"key" + base64.b64encode(SECRET),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_finds(name: str) -> None:
    assert search([("here", HIDDEN[name])], {"prompt": SECRET})[0].startswith("prompt in here")


def test_finds_nothing_where_nothing_is() -> None:
    noise = bytes(range(256)) * 100
    items = [("noise", noise), ("text", base64.b64encode(noise)), ("zlib", zlib.compress(noise))]
    assert search(items, {"prompt": SECRET}) == []


def test_refuses_short_secrets() -> None:
    with pytest.raises(ValueError, match="chance"):
        search([], {"prompt": b"abc"})


def test_reads_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(SECRET)
    assert search(file_items(tmp_path), {"prompt": SECRET}) == ["prompt in deep/file"]


def test_reads_every_type_of_redis(server: RedisServer) -> None:
    client = server.client()
    client.set("string", SECRET)
    client.hset("hash", "field", SECRET)  # type: ignore[arg-type]
    client.rpush("list", SECRET)
    client.sadd("set", SECRET)
    client.zadd("zset", {SECRET: 1.0})
    client.xadd("stream", {"field": SECRET})
    client.set(SECRET, "value")
    places = " ".join(search(redis_items(client), {"prompt": SECRET}))
    for kind in ("string", "hash", "list", "set", "zset", "stream", "key"):
        assert f"redis {kind} " in places
