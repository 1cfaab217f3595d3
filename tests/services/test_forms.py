"""Forms as clients send them: charsets, repeated fields, parts with and without file names; HEAD; Accept of a 202."""

from typing import Any

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from services.common.forms import decoded
from tests.pictures import encoded, pixels
from tests.services.conftest import DISGUISE, Clients, face, hide_form, wait_until
from tests.services.test_problems import CANARY, check

ASYNC = {"Prefer": "respond-async"}
MEDIA = "multipart/form-data; boundary=B"
SECRET = "caf\u00e9 kiosk 77"
UTF8, CP1252 = SECRET.encode(), SECRET.encode("cp1252")
FACE = encoded(face())


@pytest.fixture
def client(sender: Clients) -> TestClient:
    return sender()


def body(*parts: tuple[str, str, bytes]) -> bytes:
    """Parts of a name, further header text and content."""
    heads = [
        f'--B\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + data
        for name, more, data in parts
    ]
    return b"\r\n".join([*heads, b"--B--\r\n"])


def form(*parts: tuple[str, str, bytes]) -> bytes:
    """A form of which `parts` take the place of the usual ones of their names."""
    usual = {
        "image": ("image", '; filename="a.png"', FACE),
        "identity_prompt": ("identity_prompt", "", UTF8),
        "disguise_prompt": ("disguise_prompt", "", DISGUISE.encode()),
        "crop": ("crop", "", b"none"),
    }
    given = {name for name, _, _ in parts}
    return body(*(part for name, part in usual.items() if name not in given), *parts)


def send(client: TestClient, content: bytes, media: str = MEDIA, **headers: str) -> httpx.Response:
    return client.post("/hide", content=content, headers={"Content-Type": media, **ASYNC, **headers})


@pytest.mark.parametrize(
    ("data", "claimed", "text"),
    [
        (UTF8, None, SECRET),
        (UTF8, "utf-8", SECRET),
        (UTF8, "ascii", SECRET),
        (CP1252, "cp1252", SECRET),
        (CP1252, "iso8859-1", SECRET),
        (SECRET.encode("utf-16"), "utf-16", SECRET),
        ("鍵は青い".encode("shift_jis"), "shift_jis", "鍵は青い"),
        (b"plain", "cp1252", "plain"),
        (CP1252, None, None),
        (CP1252, "utf-8", None),
        (CP1252, "ascii", None),
        (UTF8, "cp1252", None),  # both can be read: a guess would be a stranger's picture
        (b"\xff", "utf-16", None),
    ],
)
def test_text_is_utf_8_or_what_it_claims_to_be(data: bytes, claimed: str | None, text: str | None) -> None:
    assert decoded(data, claimed) == text


@pytest.mark.parametrize(
    ("more", "data", "media", "status"),
    [
        ("", CP1252, MEDIA, 422),
        ("", CP1252, MEDIA + "; charset=utf-8", 422),
        ("", CP1252, MEDIA + "; charset=nonsense", 422),
        ("", CP1252, MEDIA + "; charset=utf-7", 422),
        ("", CP1252, MEDIA + "; charset=windows-1252", 202),
        ("\r\nContent-Type: text/plain; charset=windows-1252", CP1252, MEDIA, 202),
        ("\r\nContent-Type: text/plain; charset=utf-8", CP1252, MEDIA, 422),
        ("\r\nContent-Type: text/plain; charset=UTF-16", SECRET.encode("utf-16"), MEDIA, 202),
        ("\r\nContent-Type: text/plain; charset=UTF-8", UTF8, MEDIA + "; charset=windows-1252", 202),
        ('; filename="prompt.txt"', b"\xef\xbb\xbf" + UTF8 + b"\r\n", MEDIA, 202),
        ("\r\nContent-Transfer-Encoding: 8bit", UTF8, MEDIA, 202),
        ("\r\nContent-Transfer-Encoding: base64", b"Y2Fmw6k=", MEDIA, 422),
        ("\r\nContent-Transfer-Encoding: quoted-printable", b"caf=C3=A9", MEDIA, 422),
    ],
)
def test_a_prompt_as_clients_send_it(client: TestClient, more: str, data: bytes, media: str, status: int) -> None:
    answer = send(client, form(("identity_prompt", more, data)), media)
    assert answer.status_code == status, answer.text
    if status == 422:
        found = check(answer, 422, "invalid-request")
        assert [issue["loc"] for issue in found["errors"]] == [["body", "identity_prompt"]]
        assert found["detail"].startswith("identity_prompt ")


@pytest.mark.parametrize("more", ["", "; filename*=utf-8''%D1%84.jpg", "\r\nContent-Type: image/jpeg", '; filename=""'])
def test_a_file_needs_no_name(client: TestClient, more: str) -> None:
    large = encoded(np.random.default_rng(2).integers(0, 256, (100, 100, 3), dtype=np.uint8))
    assert len(large) > 16 * 1024
    answer = send(client, form(("image", more, large), ("crop", "", b"centre")))
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("name", ["image", "identity_prompt", "disguise_prompt", "steps", "format"])
def test_a_field_that_is_there_twice_is_named(client: TestClient, name: str) -> None:
    values = {"image": FACE, "steps": b"3", "format": b"png"}
    file = '; filename="a.png"' if name == "image" else ""
    one = (name, file, values.get(name, b"a forest"))
    found = check(send(client, form(one, one)), 422, "invalid-request")
    assert found["errors"] == [{"loc": ["body", name], "type": "repeated"}]
    assert name in found["detail"]


def test_an_unknown_field_is_not_repeated_to_the_client(client: TestClient) -> None:
    once, twice = form((CANARY, "", b"1")), form((CANARY, "", b"1"), (CANARY, "", b"2"))
    assert check(send(client, once), 422, "invalid-request")["errors"][0]["type"] == "extra_forbidden"
    assert check(send(client, twice), 422, "invalid-request")["errors"][0]["type"] == "repeated"


def test_a_text_too_long_is_named(client: TestClient) -> None:
    answer = send(client, form(("disguise_prompt", "", b"x" * 20_000)))
    assert "disguise_prompt" in check(answer, 400, "bad-request")["detail"]


def test_a_body_that_ends_too_early_says_what_is_missing(client: TestClient) -> None:
    whole = form(("identity_prompt", "", UTF8))
    found = check(send(client, whole[: whole.rindex(b'name="identity')]), 422, "invalid-request")
    assert ["body", "identity_prompt"] in [issue["loc"] for issue in found["errors"]]


@pytest.mark.parametrize("prefer", ["respond-async", "wait=30"])
def test_accept_is_asked_only_where_a_picture_is_answered(client: TestClient, prefer: str) -> None:
    headers = {"Accept": "application/json", "Prefer": prefer, "Idempotency-Key": f"json-{prefer}"}
    answer = client.post("/hide", **hide_form(), headers=headers)
    if prefer.startswith("wait"):
        check(answer, 406, "not-acceptable")
        return
    assert answer.status_code == 202
    job = answer.headers["Location"]
    assert client.get(job, params={"wait": 30}, headers={"Accept": "application/json"}).json()["state"] == "done"
    again = client.post("/hide", **hide_form(), headers=headers)
    assert (again.status_code, again.json()["state"]) == (202, "done")
    check(client.get(job + "/result", headers={"Accept": "application/json"}), 406, "not-acceptable")


def test_accept_of_several_lines_is_one(client: TestClient) -> None:
    headers = [("Accept", "text/html"), ("Accept", "image/webp"), ("Prefer", "wait=60")]
    assert client.post("/hide", **hide_form(), headers=headers).headers["Content-Type"] == "image/webp"  # type: ignore[arg-type]


def test_prefer_of_several_lines_is_one(client: TestClient) -> None:
    headers = [("Prefer", "respond-async"), ("Prefer", "wait=0")]
    answer = client.post("/hide", **hide_form(), headers=headers)  # type: ignore[arg-type]
    assert answer.headers["Preference-Applied"] == "respond-async, wait=0"
    client.delete(answer.headers["Location"])


@pytest.fixture
def done(client: TestClient) -> str:
    """The address of a job."""
    return client.post("/hide", **hide_form(), headers=ASYNC).headers["Location"]


def test_head_wherever_get_is(client: TestClient, done: str) -> None:
    assert wait_until(lambda: client.get(done).json(), lambda job: job["state"] == "done")
    for address in ("/livez", "/readyz", "/version", "/metrics", "/openapi.json", "/", "/page.json", done):
        head, got = client.head(address), client.get(address)
        assert (head.status_code, head.content) == (200, b""), address
        assert head.headers["Content-Type"] == got.headers["Content-Type"]
        if address != "/metrics":
            assert head.headers["Content-Length"] == got.headers["Content-Length"]
    assert client.head(done + "/events").headers["Content-Type"].startswith("text/event-stream")
    assert client.head("/nothing").status_code == 404
    assert client.head("/hide").status_code == 405
    assert 'method="HEAD",route="/livez",status="200"' in client.get("/metrics").text


def test_head_of_a_result_does_not_start_its_last_minute(client: TestClient, done: str) -> None:
    store = client.app.state.context.store  # type: ignore[attr-defined]
    assert client.get(done, params={"wait": 30}).json()["state"] == "done"
    reads: list[Any] = []
    read, store.result = store.result, lambda *args, **options: reads.append(args) or read(*args, **options)
    head = client.head(done + "/result")
    assert (head.status_code, reads) == (200, [])
    assert pixels(client.get(done + "/result").content).shape == face().shape
    assert len(reads) == 1
    client.delete(done)
    assert client.head(done + "/result").status_code == 410
