"""Stegos of the scheme `sealed` in both interfaces: what opens is said to be authentic, what does not is refused."""

import base64
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from ddsr_client import Client
from examples.face_verification.__main__ import PORTRAIT, SUBJECT
from examples.face_verification.kiosk import ALIKE
from examples.face_verification.register import image_id
from examples.face_verification.story import PROMPT, WRONG_PROMPT
from examples.face_verification.verifier import NO_FACE
from tests.examples.conftest import Played

pytestmark = pytest.mark.timeout(400)
ENROLLED = f"/api/v1/recognition/faces/{image_id(SUBJECT)}/verify"


@dataclass(frozen=True)
class Stegos:
    """Of the portrait: hidden under the prompt that the backend has for it, and under another."""

    right: bytes
    wrong: bytes


@pytest.fixture(scope="module")
def stegos(played: Played) -> Stegos:
    with Client(sender_url=played.scene.stack.sender_url, timeout=300) as client:
        made = [
            client.hide(PORTRAIT, prompt, "a dark forest", crop="face", scheme="sealed").data
            for prompt in (PROMPT, WRONG_PROMPT)
        ]
    return Stegos(*made)


def post(played: Played, path: str, **options: Any) -> httpx.Response:
    headers = {"x-api-key": played.scene.key}
    return httpx.post(played.scene.backend_url + path, headers=headers, timeout=300, **options)


def text(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def test_compreface_says_authentic(played: Played, stegos: Stegos) -> None:
    (match,) = post(played, ENROLLED, files={"file": stegos.right}, params={"limit": 1}).json()["result"]
    assert match["authentic"] is True
    assert match["similarity"] >= ALIKE
    files = {"source_image": PORTRAIT.read_bytes(), "target_image": stegos.right}
    (pair,) = post(played, "/api/v1/verification/verify", files=files, params={"subject": SUBJECT}).json()["result"]
    assert "authentic" not in pair["source_image_face"]  # a photograph
    assert pair["face_matches"][0]["authentic"] is True


def test_deepface_says_authentic(played: Played, stegos: Stegos) -> None:
    body = {"img1": text(PORTRAIT.read_bytes()), "img2": text(stegos.right), "subject": SUBJECT}
    answer = post(played, "/verify", json=body).json()
    assert (answer["verified"], answer["authentic"]) == (True, {"img2": True})
    (result,) = post(played, "/represent", json={"img": text(stegos.right), "subject": SUBJECT}).json()["results"]
    assert result["authentic"] is True


def test_what_does_not_open_is_refused_in_their_shape(played: Played, stegos: Stegos) -> None:
    theirs = post(played, ENROLLED, files={"file": stegos.wrong})
    assert (theirs.status_code, set(theirs.json()), theirs.json()["code"]) == (400, {"message", "code"}, NO_FACE)
    assert "another identity prompt" in theirs.json()["message"]
    other = post(played, "/verify", json={"img1": text(stegos.wrong), "subject": SUBJECT})
    assert (other.status_code, set(other.json())) == (400, {"error"})
    assert "another identity prompt" in other.json()["error"]


def test_other_schemes_claim_nothing(played: Played) -> None:
    (match,) = post(played, ENROLLED, files={"file": played.outcomes[0].stego.read_bytes()}).json()["result"]
    assert "authentic" not in match
