"""Every error is a problem: shape, codes, statuses, and nothing of the input in it."""

import importlib
import pkgutil
import re
import zlib
from pathlib import Path
from typing import Any

import pytest

import bench
import cli
import evaluation
from services.common.problems import MEDIA_TYPE, Problem, describe
from shared.errors import DdsrError
from tests.pictures import encoded
from tests.services.conftest import PROMPT, Clients, face, hide_form
from tests.services.problem_table import problem_classes

CANARY = "canary-7f3a9c51"
API = Path(__file__).parents[2] / "docs" / "api.md"


def test_codes_are_stable_names_and_unique() -> None:
    for package in (bench, cli, evaluation):  # the errors of the other programs, whatever ran before this test
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    classes = [DdsrError]
    for kind in classes:
        classes.extend(kind.__subclasses__())
    codes = [kind.code for kind in set(classes)]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch("[a-z]+(-[a-z]+)*", code) for code in codes)


def test_the_documentation_lists_every_problem_with_its_status() -> None:
    table = dict(re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \|", API.read_text("utf-8"), re.MULTILINE))
    assert table == {code: str(kind.status) for code, kind in problem_classes().items()}


def test_a_problem_has_the_members_of_the_rfc() -> None:
    request_id = "0b8e7a52-5d0c-4f5e-9a52-0a4f5c9d7e11"
    body = describe(DdsrError("a detail"), request_id=request_id).model_dump(exclude_none=True)
    assert body == {
        "type": "urn:ddsr:problem:internal",
        "title": "Internal error",
        "status": 500,
        "code": "internal",
        "detail": "a detail",
        "instance": f"urn:uuid:{request_id}",
    }


def check(answer: Any, status: int, code: str) -> dict[str, Any]:
    """An answer is the expected problem; returns its body."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, MEDIA_TYPE), answer.text
    body: dict[str, Any] = answer.json()
    Problem.model_validate(body)
    assert (body["status"], body["code"]) == (status, code)
    assert body["instance"] == "urn:uuid:" + answer.headers["X-Request-ID"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert CANARY not in answer.text
    assert PROMPT not in answer.text
    return body


def bomb(side: int) -> bytes:
    """A small PNG that claims side x side pixels."""
    small = encoded(face(16))
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + small[24:29]
    return small[:12] + header + zlib.crc32(header).to_bytes(4, "big") + small[33:]


HIDE = [
    ({"image": b"GIF89a" + bytes(50)}, 415, "unsupported-picture"),
    ({"image": b""}, 415, "unsupported-picture"),
    ({"image": encoded(face())[:-500]}, 422, "broken-picture"),
    ({"image": encoded(face(8))}, 422, "broken-picture"),
    ({"image": bomb(9_000)}, 413, "picture-too-large"),
    ({"image": bomb(60_000)}, 413, "picture-too-large"),
    ({"image": encoded(face(64))}, 422, "wrong-picture-size"),
    ({"identity_prompt": "x" * 257}, 422, "prompt-too-long"),
    ({"disguise_prompt": CANARY * 20}, 422, "prompt-too-long"),
    ({"identity_prompt": "  "}, 422, "invalid-prompt"),
    ({"identity_prompt": CANARY + "\x07"}, 422, "invalid-prompt"),
    ({"identity_prompt": "\ufeff\u200b"}, 422, "invalid-prompt"),
    ({"disguise_prompt": "\ufdfa" * 20}, 422, "prompt-too-long"),
    ({"steps": 251}, 422, "invalid-option"),
    ({"steps": 1001}, 422, "invalid-option"),
    ({"steps": 0}, 422, "invalid-request"),
    ({"steps": CANARY}, 422, "invalid-request"),
    ({"format": CANARY}, 422, "invalid-request"),
    ({"crop": CANARY}, 422, "invalid-request"),
    ({"webhook": "file:///" + CANARY}, 422, "invalid-option"),
    ({CANARY: "1"}, 422, "invalid-request"),
    ({"identity_prompt": None}, 422, "invalid-request"),
    ({"image": None}, 422, "invalid-request"),
    ({"identity_prompt": "x" * 20_000}, 400, "bad-request"),
    ({"disguise_prompt": "too long"}, 422, "prompt-too-long"),  # by the worker's count of tokens
    ({"disguise_prompt": "poison"}, 500, "computation-failed"),
]


def test_what_hide_refuses(sender: Clients) -> None:
    client = sender(rate_limit="")
    for change, status, code in HIDE:
        check(client.post("/hide", **hide_form(**change)), status, code)


def test_a_validation_error_tells_place_and_rule_only(sender: Clients) -> None:
    answer = sender().post("/hide", **hide_form(steps=CANARY, identity_prompt=None, **{CANARY: CANARY}))
    body = check(answer, 422, "invalid-request")
    found = sorted((issue["loc"], issue["type"]) for issue in body["errors"])
    assert found == [
        (["body", "<unknown>"], "extra_forbidden"),
        (["body", "identity_prompt"], "missing"),
        (["body", "steps"], "int_parsing"),
    ]


def test_what_recover_refuses(receiver: Clients) -> None:
    client = receiver(rate_limit="")
    stego = {"stego": ("a.png", encoded(face()))}
    prompt = {"identity_prompt": PROMPT}
    other = "ddsr2." + "A" * 20
    for recipe, status, code in [
        (None, 422, "missing-recipe"),
        (CANARY, 422, "invalid-recipe"),
        (other, 422, "invalid-recipe"),
        ("ddsr1.abc", 409, "recipe-mismatch"),
        ("x" * 5000, 422, "invalid-request"),
        (_recipe("f" * 16), 409, "recipe-mismatch"),
    ]:
        data = prompt if recipe is None else {**prompt, "recipe": recipe}
        check(client.post("/recover", data=data, files=stego), status, code)
    wrong = {"stego": ("a.png", encoded(face(40))[:-100])}  # not decoded: its header says enough
    check(client.post("/recover", data=prompt, files=wrong), 422, "wrong-picture-size")


def _recipe(model: str) -> str:
    from shared.recipe import Recipe

    return Recipe(model, "keyed", "mask", 3, "a man", bytes(16)).to_text()


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("GET", "/nothing-here", {}, 404, "not-found"),
        ("GET", "/docs", {}, 404, "not-found"),
        ("GET", "/hide/", {}, 404, "not-found"),
        ("GET", "/hide", {}, 405, "method-not-allowed"),
        ("PUT", "/hide", {}, 405, "method-not-allowed"),
        ("POST", "/hide", {}, 415, "unsupported-media-type"),
        ("POST", "/hide", {"json": {"identity_prompt": CANARY}}, 415, "unsupported-media-type"),
        ("POST", "/hide", {"data": {"identity_prompt": CANARY}}, 415, "unsupported-media-type"),
        (
            "POST",
            "/hide",
            {"content": CANARY, "headers": {"Content-Type": "multipart/form-data"}},
            400,
            "bad-request",
        ),
        (
            "POST",
            "/hide",
            {"content": CANARY, "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
            400,
            "bad-request",
        ),
        ("POST", "/hide", hide_form() | {"headers": {"Content-Encoding": "gzip"}}, 415, "unsupported-media-type"),
        ("POST", "/hide", hide_form() | {"headers": {"Accept": "text/html"}}, 406, "not-acceptable"),
        ("POST", "/hide?identity_prompt=" + CANARY, hide_form(), 400, "secret-in-query"),
        ("POST", "/hide?Identity-Prompt=" + CANARY, hide_form(), 400, "secret-in-query"),
        ("GET", "/nothing-here?%69dentity_prompt=" + CANARY, {}, 400, "secret-in-query"),
        ("GET", "/livez?disguise_prompt", {}, 400, "secret-in-query"),
    ],
)
def test_what_the_framework_would_answer(
    sender: Clients, method: str, path: str, options: dict[str, Any], status: int, code: str
) -> None:
    check(sender().request(method, path, **options), status, code)


@pytest.mark.parametrize("wait", [CANARY, "-1", "1e9", "nan"])
def test_unusable_waits(sender: Clients, wait: str) -> None:
    client = sender()
    job = client.post("/hide", **hide_form(), headers={"Prefer": "respond-async"}).headers["Location"]
    check(client.get(job, params={"wait": wait}), 422, "invalid-request")


def test_405_names_the_methods(sender: Clients) -> None:
    assert sender().get("/hide").headers["Allow"] == "POST"
    assert sender().post(f"/jobs/{'0' * 32}").headers["Allow"] == "DELETE, GET, HEAD"


def test_an_unforeseen_error_is_a_500_that_says_nothing(
    sender: Clients, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr("shared.jobs.JobStore.submit", broken)
    check(sender().post("/hide", **hide_form()), 500, "internal")
    log = capsys.readouterr().err
    assert "RuntimeError" in log
    assert CANARY not in log
