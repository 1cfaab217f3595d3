"""One trace from a request to the picture, through real services, Redis and workers, as a collector gets it."""

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cli.leaks import search
from services.common.keys import new_key
from shared import tracing
from shared.tracing import OFF, Origin
from stack.redis_server import RedisServer
from stack.stack import Stack
from stack.temporary import temporary_stack
from tests.collector import Collector, Span, collector
from tests.services.conftest import encoded, face
from tests.worker.support import OWNER, ended, hide_request, make_store, until, worker_process

pytestmark = pytest.mark.timeout(300)

PROMPT = "canary-7a20 the red kite over Ullapool"
DISGUISE = "canary-7a21 a quiet harbour"
FILE = "canary-7a22-holiday.png"
KEY, LINE = new_key("canary-7a23-caller")
CALLER = "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collected() -> Iterator[Collector]:
    with collector() as found:
        yield found


@pytest.fixture(scope="module")
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(scope="module")
def stack(collected: Collector, log: io.StringIO, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Of a tiny diffusion model: every walk is taken."""
    from shared.diffusion.tiny import build_tiny  # torch, which the other tests here do without

    model = build_tiny(tmp_path_factory.mktemp("model") / "tiny")
    extra = {**collected.variables, "DDSR_MODEL": str(model), "DDSR_API_KEYS": LINE, "DDSR_LOG_LEVEL": "debug"}
    with temporary_stack(log, extra=extra) as stack:
        yield stack


def ask(url: str, trace: str, files: dict[str, tuple[str, bytes]], **fields: str) -> httpx.Response:
    headers = {"X-API-Key": KEY, "X-Request-ID": f"order-{trace[:4]}", "Prefer": "wait=120"}
    headers["traceparent"] = f"00-{trace}-{CALLER}-01"
    headers["tracestate"] = "vendor=canary-7a24"
    form = {"identity_prompt": PROMPT, **fields}
    return httpx.post(url, files=files, data=form, headers=headers, timeout=130)


def tree(collected: Collector, trace: str, last: str) -> dict[str, list[Span]]:
    """The spans of a trace by name, once those have come that end last in service and worker."""
    wanted = {last, last.partition("/")[2]}
    until(lambda: wanted <= {span.name for span in collected.spans(trace)})
    found: dict[str, list[Span]] = {}
    for span in collected.spans(trace):
        found.setdefault(span.name, []).append(span)
    return found


def test_one_trace_from_the_request_through_the_queue_to_the_walks_and_back(
    stack: Stack, collected: Collector, log: io.StringIO
) -> None:
    trace = "a1" * 16
    hidden = ask(
        f"{stack.sender_url}/hide",
        trace,
        {"image": (FILE, encoded(face(64)))},
        disguise_prompt=DISGUISE,
        scheme="keyed",
    )
    assert hidden.status_code == 200, hidden.text
    spans = tree(collected, trace, "POST /hide")
    (server,), (submit,), (queue,), (job,) = (spans[name] for name in ("POST /hide", "submit", "queue", "hide"))
    (batch,), (result,) = spans["batch"], spans["result"]
    assert server.parent == CALLER, "the caller's own trace goes on"
    assert (submit.parent, result.parent) == (server.id, server.id)
    assert (queue.parent, job.parent) == (submit.id, submit.id), "by what was sealed in the message"
    assert batch.parent == job.id
    for name in ("walk identity inversion", "walk disguise sampling"):
        (walk,) = spans[name]
        assert walk.parent == batch.id
        assert 0 < walk.seconds <= batch.seconds <= job.seconds <= server.seconds
    assert {span.service for span in (server, submit, result)} == {"ddsr-sender"}
    assert {span.service for span in (queue, job, batch)} == {"ddsr-worker"}
    assert (server.attributes["http.route"], server.attributes["http.response.status_code"]) == ("/hide", 200)
    assert (job.attributes["ddsr.outcome"], job.attributes["ddsr.scheme"]) == ("done", "keyed")
    names = ("http.request.method", "ddsr.request_id", "ddsr.job")
    assert all(span.attributes["ddsr.job"] == hidden.headers["DDSR-Job"] for span in (server, submit, queue, job))
    assert set(names) <= set(server.attributes)

    back = ask(f"{stack.receiver_url}/recover", "a2" * 16, {"stego": (FILE, hidden.content)})
    assert back.status_code == 200, back.text
    again = tree(collected, "a2" * 16, "POST /recover")
    assert {"walk disguise inversion", "walk identity sampling"} <= set(again)

    def said() -> list[dict[str, Any]]:
        lines = [line[line.index("{") :] for line in log.getvalue().splitlines() if "{" in line]
        return [found for line in lines if (found := json.loads(line)).get("trace_id") == trace]

    until(lambda: {"request", "batch", "ended"} <= {line["event"] for line in said()})  # of sender and worker
    assert {line["request_id"] for line in said()} == {"order-a1a1"}


def test_failures_are_told_by_their_codes(stack: Stack, collected: Collector) -> None:
    """Random weights carry no face of `sealed`. tests/diffusion/test_sealed.py has a loop that does."""
    trace, form = "b1" * 16, {"disguise_prompt": DISGUISE, "scheme": "sealed", "channel": "degraded"}
    poor = ask(f"{stack.sender_url}/hide", trace, {"image": (FILE, encoded(face(128)))}, **form)
    assert (poor.status_code, poor.json()["code"]) == (422, "channel-too-poor")
    spans = tree(collected, trace, "POST /hide")
    (loop,), (batch,), (job,), (server,) = (spans[name] for name in ("channel loop", "batch", "hide", "POST /hide"))
    assert (loop.parent, loop.attributes["ddsr.channel"]) == (batch.id, "degraded")
    assert (job.failed, job.attributes["error.type"]) == (True, "channel-too-poor")
    assert (server.failed, server.attributes["error.type"]) == (False, "channel-too-poor"), "the caller's error"
    broken = ask(f"{stack.sender_url}/hide", "b2" * 16, {"image": (FILE, b"canary-7a25")}, disguise_prompt=DISGUISE)
    assert broken.status_code == 415
    until(lambda: collected.spans("b2" * 16))
    (refused,) = collected.spans("b2" * 16)
    assert refused.attributes["error.type"] == "unsupported-picture"


def test_no_span_tells_a_secret(stack: Stack, collected: Collector) -> None:
    """Of what the tests above sent; and the search would have found it."""
    secret = httpx.get(f"{stack.sender_url}/version?identity_prompt=canary-7a26", timeout=30)
    assert secret.status_code == 400
    until(lambda: [span for span in collected.spans() if span.attributes.get("error.type") == "secret-in-query"])
    secrets = {name: name.encode() for name in (PROMPT, DISGUISE, FILE, KEY, "canary-7a")}
    secrets["face"] = face(64)[5].tobytes()
    items = [(f"spans {number}", body) for number, body in enumerate(collected.bodies)]
    assert len(collected.spans()) > 20
    assert search(items, secrets) == []
    assert search([("spans", collected.bodies[0] + PROMPT.encode())], secrets)
    assert {span.events for span in collected.spans()} == {0}
    probes = [span for span in collected.spans() if "livez" in span.name or "readyz" in span.name]
    assert not probes


def test_a_batch_is_in_the_trace_of_each_of_its_jobs(own_server: RedisServer) -> None:
    store = make_store(own_server)
    traces = [f"c{number}" * 16 for number in range(3)]
    with collector() as collected, worker_process(own_server, DDSR_BATCH_WINDOW="3", **collected.variables):
        until(lambda: store.health().trouble is None)
        ids = []
        for trace in traces:
            with tracing.served(Origin(f"order-{trace[:2]}", f"00-{trace}-{CALLER}-01"), OFF):
                ids.append(store.submit("hide", hide_request("a cat pause:0.05"), owner=OWNER).id)
        assert [ended(store, job_id, 60).state for job_id in ids] == ["done"] * 3
        until(lambda: all("hide" in {span.name for span in collected.spans(trace)} for trace in traces))
        batches = {trace: next(s for s in collected.spans(trace) if s.name == "batch") for trace in traces}
    sizes = {trace: batch.attributes["ddsr.batch_size"] for trace, batch in batches.items()}
    together = [trace for trace, size in sizes.items() if size > 1]
    assert together, sizes
    for trace in together:
        assert set(batches[trace].links) == set(together) - {trace}


def test_an_error_that_quotes_a_prompt_reaches_no_span_and_a_silent_collector_no_job(own_server: RedisServer) -> None:
    store = make_store(own_server)
    with collector() as collected, worker_process(own_server, **collected.variables) as process:
        until(lambda: store.health().trouble is None)
        job_id = store.submit("hide", hide_request("poison", prompt=PROMPT), owner=OWNER).id
        assert ended(store, job_id, 60).state == "failed"
        until(lambda: "hide" in {span.name for span in collected.spans()})
        spans = {span.name: span for span in collected.spans()}
        assert spans["batch"].attributes["error.type"] == "ArithmeticError"
        assert spans["hide"].attributes["error.type"] == "computation-failed"
        assert search([("spans", body) for body in collected.bodies], {"prompt": PROMPT.encode()}) == []
        process.terminate()
        assert process.wait(30) == 0
    with worker_process(own_server, **collected.variables) as process:  # nobody listens there any more
        until(lambda: store.health().trouble is None)
        assert ended(store, store.submit("hide", hide_request(), owner=OWNER).id, 60).state == "done"
        process.terminate()
        start = time.monotonic()
        assert process.wait(30) == 0
        assert time.monotonic() - start < 15, "its last spans do not keep it"
