"""Packing of requests, and what workers announce."""

import json

import pytest
from pydantic import SecretStr

from shared.errors import (
    EnvelopeError,
    InvalidOption,
    RecipeError,
    RecipeMismatch,
)
from shared.jobs import Picture, RecoverRequest
from shared.jobs import scripts as records
from shared.jobs.codec import pack, unpack
from shared.jobs.model import unpack_request
from shared.recipe import Recipe
from shared.tracing import Origin
from stack.redis_server import RedisServer
from tests.worker.support import OWNER, announce, face, hide_request, make_store

WRONG = {"width": "32", "reply_key": 1, "format": "exe", "x": 1}
RECIPE = Recipe("a" * 16, "keyed", "sum", 5, "a cat", bytes(16))


def test_bad_input_is_refused_before_anything_is_stored(server: RedisServer) -> None:
    announce(server)
    store = make_store(server)
    with pytest.raises(InvalidOption):
        store.submit("hide", hide_request(), owner=OWNER, webhook="ftp://example.org")
    assert not server.client().keys("*job*")


def test_requests_survive_packing() -> None:
    request = RecoverRequest(Picture.from_array(face()[:, :16]), SecretStr("prömpt"), RECIPE)
    origin = Origin("order-17", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    data = request.pack("ab", origin)
    assert len(data) % 1024 == 0
    again, reply, whose = unpack_request("recover", data)
    assert whose == origin
    assert unpack_request("recover", request.pack("ab"))[1:] == ("ab", Origin()), "of a service that says nothing"
    assert isinstance(again, RecoverRequest)
    assert (again.recipe, reply, again.identity_prompt.get_secret_value()) == (RECIPE, "ab", "prömpt")
    assert again.picture.to_array().shape == (32, 16, 3)
    assert "prömpt" not in repr(again)
    head, blob = unpack(data)
    spoiled = [{**head, name: value} for name, value in {**WRONG, "request_id": "a b", "traceparent": 7}.items()]
    spoiled += [{**head, "width": -16, "height": -32}, {name: head[name] for name in head if name != "recipe"}]
    for strange in spoiled:
        with pytest.raises(EnvelopeError):
            unpack_request("recover", pack(strange, blob))
    for recipe, error in (("nonsense", RecipeError), ("ddsr999.AAAA", RecipeMismatch)):
        with pytest.raises(error):
            unpack_request("recover", pack({**head, "recipe": recipe}, blob))
    with pytest.raises(EnvelopeError):
        unpack_request("hide", data)
    for broken in (b"", data[:100], pack({}, b""), pack({"width": 1}, b"xx"), b"\x00\x00\x00\x02\x00\x00\x00\x00[]"):
        with pytest.raises(EnvelopeError):
            unpack_request("recover", broken)


def test_pack_pads_prompts_away() -> None:
    sizes = {len(hide_request(prompt="x" * length).pack("k")) for length in (1, 50, 256)}
    assert len(sizes) == 1
    assert unpack(pack({"a": 1}, b"xyz")) == ({"a": 1}, b"xyz")


def test_strange_announcements_are_passed_over(server: RedisServer) -> None:
    announce(server)
    client = server.client()
    for name, text in {"a": "[]", "b": "nonsense", "c": '{"name": "c"}', "d": '{"public_key": 1}'}.items():
        client.sadd(records.WORKERS, name)
        client.set(records.worker_key(name), text)
    client.sadd(records.WORKERS, "dead")
    assert [worker.name for worker in make_store(server).health().workers] == ["w1"]
    assert not client.sismember(records.WORKERS, "dead")


def test_announcements_tell_no_secret(server: RedisServer) -> None:
    keys = announce(server)
    text = server.client().get(records.worker_key("w1"))
    assert json.loads(text or b"")["public_key"] == keys.current.public.to_text()
