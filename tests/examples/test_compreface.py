"""CompreFace's interface: its own client of PyPI, and what other clients meet."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest
from compreface import CompreFace

from examples.face_verification.__main__ import NOBODY, PORTRAIT, SUBJECT
from examples.face_verification.recogniser import THRESHOLD, Recogniser, distance, similarity
from examples.face_verification.register import image_id
from tests.examples.conftest import Played
from tests.pictures import encoded

BOX = {"probability", "x_max", "y_max", "x_min", "y_min"}
PAIR = "/api/v1/verification/verify"
GREY = encoded(np.full((128, 128, 3), 128, np.uint8))
ENROLLED = f"/api/v1/recognition/faces/{image_id(SUBJECT)}/verify"


def theirs(played: Played) -> CompreFace:
    address, _, port = played.scene.backend_url.rpartition(":")
    return CompreFace(address, port)


def test_its_client_verifies_a_stego_against_an_enrolled_photograph(played: Played) -> None:
    faces = theirs(played).init_face_recognition(played.scene.key).get_face_collection()
    (listed,) = faces.list()["faces"]
    assert listed == {"image_id": image_id(SUBJECT), "subject": SUBJECT}
    for outcome in played.outcomes:
        answer = faces.verify(outcome.stego.read_bytes(), listed["image_id"], {"limit": 1, "status": "true"})
        if outcome.similarity is None:
            assert answer == {"message": "No face is found in the given image", "code": 28}
        else:
            assert set(answer) == {"result", "plugins_versions"}
            (match,) = answer["result"]
            assert set(match) == {"box", "similarity", "execution_time"}
            assert set(match["box"]) == BOX
            assert match["similarity"] == outcome.similarity  # the same stego gives the same face
    assert outcome_alike(played) >= 0.5


def outcome_alike(played: Played) -> float:
    alike = played.outcomes[0].similarity
    assert alike is not None
    return alike


def test_its_client_verifies_two_pictures(played: Played, recogniser: Recogniser) -> None:
    pairs = theirs(played).init_face_verification(played.scene.key)
    stego, portrait = played.outcomes[0].stego.read_bytes(), PORTRAIT.read_bytes()  # of a path it leaves the file open
    options = {"det_prob_threshold": 0.5, "face_plugins": "calculator,age", "subject": SUBJECT}
    (hidden,) = pairs.verify(stego, portrait, options)["result"]
    assert set(hidden) == {"source_image_face", "face_matches"}
    assert set(hidden["source_image_face"]) == {"box", "embedding"}
    assert len(hidden["source_image_face"]["embedding"]) == 128
    assert hidden["face_matches"][0]["similarity"] == outcome_alike(played)
    (turned,) = pairs.verify(portrait, stego, options)["result"]
    assert turned["face_matches"][0]["similarity"] == outcome_alike(played)
    (apart,) = pairs.verify(portrait, NOBODY.read_bytes())["result"]
    first, second = (recogniser.look(path.read_bytes()) for path in (PORTRAIT, NOBODY))
    assert first is not None
    assert second is not None
    expected = similarity(distance(first, second), THRESHOLD)
    assert apart["face_matches"][0]["similarity"] == pytest.approx(expected, abs=1e-4)
    assert set(apart["face_matches"][0]) == {"box", "similarity"}


def test_base64_in_json(played: Played) -> None:
    text = base64.b64encode(played.outcomes[0].stego.read_bytes()).decode()
    answer = post(played, ENROLLED, json={"file": text})
    assert answer.json()["result"][0]["similarity"] == outcome_alike(played)
    assert post(played, ENROLLED, json={"file": "!"}).json() == {"message": "file is not base64", "code": 26}


def post(played: Played, path: str, **options: Any) -> httpx.Response:
    headers = options.pop("headers", {"x-api-key": played.scene.key})
    return httpx.post(played.scene.backend_url + path, headers=headers, timeout=300, **options)


@pytest.mark.parametrize(
    ("path", "options", "status", "code"),
    [
        (ENROLLED, {"headers": {}}, 401, 20),
        (ENROLLED, {"headers": {"x-api-key": "wrong"}}, 401, 10),
        (ENROLLED, {"files": {"other": b"x"}}, 400, 33),
        (ENROLLED, {"files": {"file": b"no picture"}}, 400, 26),
        (ENROLLED, {"content": b"x"}, 400, 26),
        (ENROLLED, {"json": []}, 400, 26),
        (ENROLLED, {"files": {"file": PORTRAIT.read_bytes()}, "params": {"limit": -1}}, 400, 26),
        (ENROLLED, {"files": {"file": GREY}}, 400, 28),
        (ENROLLED, {"files": {"file": bytes(9 * 2**20)}}, 413, 0),
        (PAIR, {"files": {"source_image": PORTRAIT.read_bytes()}}, 400, 33),
        (f"/api/v1/recognition/faces/{image_id('nobody')}/verify", {"files": {"file": b"x"}}, 404, 11),
        ("/api/v1/nowhere", {}, 404, 0),
        ("/api/v1/recognition/faces", {}, 405, 0),
    ],
)
def test_refusals_have_a_message_and_a_code(
    played: Played, path: str, options: dict[str, Any], status: int, code: int
) -> None:
    answer = post(played, path, **options)
    found = answer.json()
    assert (answer.status_code, found["code"], set(found)) == (status, code, {"message", "code"})


def test_a_stego_needs_a_subject(played: Played) -> None:
    stego = played.outcomes[0].stego.read_bytes()
    answer = post(played, PAIR, files={"source_image": stego, "target_image": PORTRAIT.read_bytes()})
    assert (answer.status_code, answer.json()["code"]) == (400, 33)
    assert "source_image is a stego" in answer.json()["message"]
