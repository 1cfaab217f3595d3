"""Bodies that are nearly multipart forms, over a real socket: documented answers only, and no word of what was sent."""

import json
from typing import Any

import httpx
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.conftest import BOUNDED, Fleet
from tests.pictures import encoded
from tests.services.conftest import face
from tests.services.problem_table import problem_classes

CANARY = "canary-5d1e"
BOUNDARY = b"x-boundary-x"
MEDIA = "multipart/form-data; boundary=x-boundary-x"
PARTS = [
    (b'name="image"; filename="face.png"', encoded(face(32))),
    (b'name="stego"; filename="stego.png"', encoded(face(32))),
    (b'name="identity_prompt"', CANARY.encode()),
    (b'name="disguise_prompt"', b"a hill"),
    (b'name="steps"', b"1"),
    (b'name="recipe"', b"ddsr2.eyJkIjoiYSJ9"),
    (b'name="webhook"', b"http://[::1/"),
    (b'name="webhook"', "http://127.0.0.1/\u00e9".encode()),
    (b'name="crop"', b"none"),
    (b"name=steps", b"1"),
    (b"name*=utf-8''steps; name=\"steps\"", b"1"),
    (b'filename="no name"', b"?"),
]
odd_headers = st.sampled_from(
    [
        b"",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Type: text/plain; charset=utf-7\r\n",
        b"X\r\n",
        b": y\r\n",
    ]
)
media = st.sampled_from(
    [MEDIA, MEDIA + "; charset=utf-7", MEDIA + "; charset=undefined", MEDIA + "; charset=utf-16", MEDIA.upper()]
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Some of the parts in some order, put together and then damaged, or not."""
    chosen = draw(st.lists(st.sampled_from(PARTS), max_size=6))
    lines = [
        b"--"
        + BOUNDARY
        + b"\r\nContent-Disposition: form-data; "
        + head
        + b"\r\n"
        + draw(odd_headers)
        + b"\r\n"
        + value
        for head, value in chosen
    ]
    body = bytearray(b"\r\n".join([*lines, b"--" + BOUNDARY + b"--\r\n"]))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(body)))
        body[start : start + draw(st.integers(0, 30))] = draw(st.binary(max_size=12))
    return bytes(body)


def test_odd_forms(fleet: Fleet) -> None:
    codes = problem_classes()
    seen: set[int] = set()
    headers = {"X-API-Key": fleet.key, "Prefer": "respond-async"}
    with httpx.Client(headers=headers, timeout=60) as client:

        @BOUNDED
        @given(bodies(), media, st.sampled_from([f"{fleet.sender}/hide", f"{fleet.receiver}/recover"]))
        def ask(body: bytes, kind: str, url: str) -> None:
            answer = client.post(url, content=body, headers={"Content-Type": kind})
            seen.add(answer.status_code)
            assert CANARY not in answer.text
            assert answer.status_code < 500
            if answer.status_code != 202:
                problem: dict[str, Any] = json.loads(answer.content)
                assert codes[problem["code"]].status == answer.status_code == problem["status"]

        ask()
    assert {400, 422} <= seen
