"""The core without a clock, a socket or chance: flows driven by hand."""

import random
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddsr_client import ConfigurationError, ConnectionFailed, Job, Retry, Secret, Unavailable, WaitTimeout
from ddsr_client.core import SLICE, Core
from ddsr_client.errors import ClientError, problem_from
from ddsr_client.models import Box
from ddsr_client.retry import parse_retry_after
from ddsr_client.settings import make_settings
from ddsr_client.sse import Event, EventParser
from ddsr_client.wire import Command, Emit, Flow, NoReply, Open, Read, Reply, Request, Send, Sleep, error_of, picture_of

T = TypeVar("T")
ID = "3f9a0c5b7d1e42688ab0c4d2e6f81357"


class Time:
    """Seconds that pass only where somebody sleeps or waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_core(clock: Time, **retry: Any) -> Core:
    settings = make_settings(None, None, "ddsr_key", None, False, {})
    return Core(settings, Retry(**retry), clock=clock, rng=random.Random(0))


def perform(flow: Flow[T], clock: Time, answer: Callable[[Command], object]) -> tuple[T, list[Command]]:
    """Drive a flow; a `Sleep` lets the time pass. The result and the commands."""
    commands: list[Command] = []
    outcome: object = None
    while True:
        try:
            command = flow.send(outcome)
        except StopIteration as stop:
            return stop.value, commands
        commands.append(command)
        if isinstance(command, Sleep):
            clock.now += command.seconds
        outcome = None if isinstance(command, Sleep | Emit) else answer(command)


def problem(status: int, code: str, **headers: str) -> Reply:
    body = f'{{"status": {status}, "code": "{code}", "title": "t", "detail": "d"}}'.encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"content-type": "application/problem+json", **names}, body)


def job(state: str, **more: Any) -> str:
    import json

    return json.dumps({"id": ID, "kind": "hide", "state": state, "links": {"future": "field"}, **more})


def hide_request(core: Core) -> Request:
    return core.hide_request(
        b"face",
        Secret("secret"),
        "a cat",
        scheme=None,
        channel=None,
        face_size=None,
        steps=None,
        format="png",
        crop="centre",
        webhook=None,
        idempotency_key=None,
    )


def test_every_try_is_the_same_request() -> None:
    clock = Time()
    core = make_core(clock, tries=3)
    outcomes = [NoReply("ConnectError"), problem(503, "queue-full", retry_after="7"), problem(429, "rate-limited")]
    accepted = Reply(202, {"content-type": "application/json"}, job("queued").encode())
    left = iter([*outcomes, accepted])
    started, commands = perform(core.submit("hide", hide_request(core), 300), clock, lambda _: next(left))
    assert started.id == ID
    sent = [command.request for command in commands if isinstance(command, Send)]
    assert len(sent) == 4
    assert len({request.headers["Idempotency-Key"] for request in sent}) == 1
    pauses = [command.seconds for command in commands if isinstance(command, Sleep)]
    assert pauses[0] <= 0.5
    assert 7 <= pauses[1] <= 8
    assert pauses[2] <= 2


def test_two_calls_have_two_keys() -> None:
    core = make_core(Time())
    keys = {hide_request(core).headers["Idempotency-Key"] for _ in range(2)}
    assert len(keys) == 2


def test_gives_up_after_its_tries_with_the_last_error() -> None:
    clock = Time()
    core = make_core(clock, tries=2)
    left = iter([NoReply("ReadError"), NoReply("ReadError"), problem(503, "no-worker")])
    with pytest.raises(Unavailable, match="no-worker"):
        perform(core.submit("hide", hide_request(core), None), clock, lambda _: next(left))


def test_gives_up_at_once_when_the_service_asks_for_more_time_than_there_is() -> None:
    clock = Time()
    core = make_core(clock)
    busy = problem(503, "queue-full", retry_after="60")
    with pytest.raises(Unavailable):
        perform(core.submit("hide", hide_request(core), 30), clock, lambda _: busy)
    assert clock.now == 1000


def test_polling_ends_in_time() -> None:
    clock = Time()
    core = make_core(clock)

    def answer(command: Command) -> Reply:
        assert isinstance(command, Send)
        seconds = float(command.request.url.rpartition("=")[2])
        clock.now += seconds
        return Reply(200, {"content-type": "application/json"}, job("queued", position=3).encode())

    with pytest.raises(WaitTimeout, match=ID):
        perform(core.wait("hide", ID, 60, None), clock, answer)
    assert clock.now == pytest.approx(1060, abs=0.1)


def test_polling_a_service_that_does_not_wait_is_no_busy_loop() -> None:
    clock = Time()
    asked = 0

    def answer(command: Command) -> Reply:
        nonlocal asked
        asked += 1
        return Reply(200, {"content-type": "application/json"}, job("running", step=1, steps=9).encode())

    with pytest.raises(WaitTimeout):
        perform(make_core(clock).wait("hide", ID, SLICE, None), clock, answer)
    assert asked <= SLICE / 0.5 + 2


def lines(*states: str) -> list[str | None]:
    found: list[str | None] = []
    for state in states:
        found += [": ping", f"event: {state}", f"data: {job(state)}", "retry: 2000", ""]
    return [*found, None]


def test_a_silent_stream_is_opened_again_as_often_as_it_takes() -> None:
    """Each stream tells where the job stands, so that streams that end do not count as failures in a row."""
    clock = Time()
    streams = [iter(lines("queued")) for _ in range(20)] + [iter(lines("queued", "running", "done"))]
    current: list[Any] = []

    def answer(command: Command) -> object:
        if isinstance(command, Open):
            current[:] = [streams.pop(0)]
            return Reply(200, {"content-type": "text/event-stream"})
        assert isinstance(command, Read)
        return next(current[0])

    end, commands = perform(make_core(clock, tries=3).events("hide", ID, None), clock, answer)
    assert end.state == "done"
    assert [command.job.state for command in commands if isinstance(command, Emit)] == ["queued", "running", "done"]


def test_a_stream_that_says_nothing_is_given_up() -> None:
    clock = Time()
    opened = Reply(200, {"content-type": "text/event-stream"})
    flow = make_core(clock, tries=3).events("hide", ID, None)
    with pytest.raises(ConnectionFailed, match="event stream"):
        perform(flow, clock, lambda command: opened if isinstance(command, Open) else NoReply("ReadTimeout"))


def test_a_second_interruption_ends_the_farewell() -> None:
    clock = Time()
    core = make_core(clock)
    flow = core.complete("hide", hide_request(core), 60, None)
    next(flow)
    flow.send(Reply(202, {"content-type": "application/json"}, job("queued").encode()))
    farewell = flow.throw(KeyboardInterrupt())
    assert isinstance(farewell, Send)
    assert farewell.shielded
    assert (farewell.request.method, farewell.request.url) == ("DELETE", f"http://127.0.0.1:8001/jobs/{ID}")
    with pytest.raises(KeyboardInterrupt):
        flow.throw(KeyboardInterrupt())


def test_a_stream_that_is_quiet_until_the_time_is_over_is_a_time_out() -> None:
    clock = Time()
    current: list[Any] = []

    def answer(command: Command) -> object:
        if isinstance(command, Open):
            current[:] = [iter(lines("queued")[:-1]), command.request.patience]
            return Reply(200, {"content-type": "text/event-stream"})
        line = next(current[0], None)
        if line is None:
            clock.now += current[1]
            return NoReply("ReadTimeout")
        return line

    flow = make_core(clock).events("hide", ID, 90)
    with pytest.raises(WaitTimeout):
        perform(flow, clock, answer)
    assert 1090 <= clock.now <= 1092


def test_a_made_up_id_leads_nowhere_else() -> None:
    command = next(make_core(Time()).status("hide", "../readyz?x=/#y", 10))
    assert isinstance(command, Send)
    assert command.request.url == "http://127.0.0.1:8001/jobs/..%2Freadyz%3Fx%3D%2F%23y"


@settings(deadline=None)
@given(st.integers(0, 2000), st.integers(0, 10**6))
def test_pauses_stay_within_their_bounds(done: int, seed: int) -> None:
    retry = Retry(tries=2000, first=0.5, longest=20)
    error = ConnectionFailed("no answer")
    pause = retry.pause(done, error, random.Random(seed))
    if done < 2000:
        assert pause is not None
        assert 0 <= pause <= min(20, 0.5 * 2 ** min(done, 30))
    else:
        assert pause is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20),
    ],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, now=100.0) == seconds


def test_events_by_the_rules_of_their_format() -> None:
    parser = EventParser()
    text = "﻿:x\nevent:a\ndata:1\ndata: 2\n\ndata:  3\nid: 9\n\nevent: empty\n\nevent\ndata\n\n"
    found = [event for line in text.split("\n") if (event := parser.feed(line)) is not None]
    assert found == [Event("a", "1\n2"), Event("message", " 3"), Event("message", "")]


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(400, 599))
def test_whatever_a_service_says_is_an_error_of_ours(body: bytes, status: int) -> None:
    error = error_of(Reply(status, {"content-type": "application/problem+json", "retry-after": "x"}, body))
    assert isinstance(error, ClientError)


ODD = st.none() | st.integers() | st.text(max_size=3) | st.just([{"loc": ["body", 1], "type": None}, {"loc": 3}, 7])


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(["code", "title", "detail", "type", "instance", "job", "errors"]), ODD) | ODD)
def test_a_malformed_problem_is_still_a_problem(body: Any) -> None:
    import json

    found = problem_from(422, json.dumps(body).encode(), None)
    assert (found is None) == (not isinstance(body, dict))
    assert found is None or found.status == 422


def test_server_timing_and_crop() -> None:
    headers = {
        "content-type": "image/png",
        "server-timing": "cache;desc=x, compute;dur=4210",
        "ddsr-crop": "left=412, top=96, width=640, height=640",
    }
    picture = picture_of(Reply(200, headers, b"x"))
    assert picture.seconds == 4.21
    assert picture.crop == Box(412, 96, 640, 640)
    plain = picture_of(Reply(200, {"content-type": "image/png", "server-timing": "compute;dur=x"}, b"x"))
    assert (plain.seconds, plain.crop) == (None, None)


def test_a_job_of_a_later_version_can_be_read() -> None:
    found = Job.parse({"id": ID, "kind": "hide", "state": "paused", "steps": None, "new": [1]})
    assert not found.ended
    assert found.fraction == 0


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8001",
        "ftp://127.0.0.1",
        "http://",
        "http://u:p@127.0.0.1",
        "http://127.0.0.1?x=1",
        "http://[::1",
        "http://127.0.0.1:99999",
        "http://example.org",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_settings(url, None, None, None, False, {})
    assert str(caught.value).startswith(("a service's address", "http would carry"))  # and quotes none
    assert "u:p" not in str(caught.value)


def test_settings_come_from_arguments_then_environment_then_this_machine() -> None:
    variables = {"DDSR_SENDER_URL": "https://a.example/ddsr/", "DDSR_API_KEY": "k1"}
    found = make_settings(None, "http://receiver:8002", None, "k2", True, variables)
    assert (found.sender.url, found.receiver.url) == ("https://a.example/ddsr", "http://receiver:8002")
    assert (found.sender.key, found.receiver.key) == (Secret("k1"), Secret("k2"))
    plain = make_settings(None, None, None, None, False, {})
    assert (plain.sender.url, plain.sender.key) == ("http://127.0.0.1:8001", None)
    with pytest.raises(ConfigurationError, match="DDSR_API_KEY_FILE"):
        make_settings(None, None, None, None, False, {"DDSR_API_KEY_FILE": "/nowhere/key"})
