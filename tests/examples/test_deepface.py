"""DeepFace's interface, in the forms that its own API takes pictures: base64 with a head, and uploads."""

import base64
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from examples.face_verification.__main__ import NOBODY, PORTRAIT, SUBJECT
from examples.face_verification.recogniser import THRESHOLD, Recogniser, distance, similarity
from tests.examples.conftest import Played

AREA = {"x", "y", "w", "h", "left_eye", "right_eye"}


def post(played: Played, path: str, **options: Any) -> httpx.Response:
    return httpx.post(
        played.scene.backend_url + path,
        headers={"Authorization": f"Bearer {played.scene.key}"},
        timeout=300,
        **options,
    )


def text(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def test_verify_takes_base64_and_uploads(played: Played) -> None:
    stego = played.outcomes[0].stego
    both = {"img1": text(stego), "img2": text(PORTRAIT), "subject": SUBJECT, "model_name": "Dlib"}
    answer = post(played, "/verify", json=both).json()
    assert set(answer) == {
        "verified",
        "distance",
        "threshold",
        "model",
        "detector_backend",
        "similarity_metric",
        "facial_areas",
        "time",
    }
    assert (answer["verified"], answer["threshold"], answer["model"]) == (True, THRESHOLD, "Dlib")
    assert similarity(answer["distance"], THRESHOLD) == pytest.approx(played.outcomes[0].similarity, abs=1e-5)
    assert set(answer["facial_areas"]["img1"]) == set(answer["facial_areas"]["img2"]) == AREA
    files = {"img1": stego.read_bytes(), "img2": PORTRAIT.read_bytes()}
    uploaded = post(played, "/verify", files=files, data={"subject": SUBJECT}).json()
    assert uploaded | {"time": 0} == answer | {"time": 0}
    enrolled = post(played, "/verify", json={"img1": text(stego), "subject": SUBJECT}).json()
    assert enrolled["distance"] == answer["distance"]


def test_two_photographs_by_every_metric(played: Played, recogniser: Recogniser) -> None:
    first, second = (recogniser.look(path.read_bytes()) for path in (PORTRAIT, NOBODY))
    assert first is not None
    assert second is not None
    for metric in ("euclidean", "cosine", "euclidean_l2"):
        body = {"img1": text(PORTRAIT), "img2": text(NOBODY), "distance_metric": metric}
        answer = post(played, "/verify", json=body).json()
        assert (answer["verified"], answer["similarity_metric"]) == (False, metric)
        assert answer["distance"] == pytest.approx(distance(first, second, metric), abs=1e-6)
    strict = post(played, "/verify", json={"img1": text(PORTRAIT), "img2": text(PORTRAIT), "threshold": -1}).json()
    assert (strict["verified"], strict["distance"]) == (False, 0)


def test_represent(played: Played, recogniser: Recogniser) -> None:
    answer = post(played, "/represent", json={"img": text(PORTRAIT), "max_faces": 1}).json()
    (one,) = answer["results"]
    seen = recogniser.look(PORTRAIT.read_bytes())
    assert seen is not None
    assert np.allclose(one["embedding"], seen.vector)
    assert set(one) == {"embedding", "facial_area", "face_confidence"}
    left, right = one["facial_area"]["left_eye"], one["facial_area"]["right_eye"]
    assert left[0] > right[0]  # her left eye is on the right


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/verify", {"img2": "x"}, "img1"),
        ("/verify", {"img1": "/etc/passwd", "img2": "x"}, "path"),
        ("/verify", {"img1": "https://example.org/face.jpg", "img2": "x"}, "address"),
        ("/verify", {"img1": "data:image/png;base64,!", "img2": "x"}, "base64"),
        ("/verify", {"img1": text(PORTRAIT), "model_name": "VGG-Face"}, "model_name"),
        ("/verify", {"img1": text(PORTRAIT), "detector_backend": "retinaface"}, "detector_backend"),
        ("/verify", {"img1": text(PORTRAIT), "distance_metric": "angular"}, "distance_metric"),
        ("/verify", {"img1": text(PORTRAIT), "enforce_detection": False}, "enforce_detection"),
        ("/verify", {"img1": text(PORTRAIT), "img2": text(PORTRAIT), "threshold": "x"}, "threshold"),
        ("/represent", {"img": text(PORTRAIT), "anti_spoofing": True}, "anti_spoofing"),
        ("/represent", {"img": text(PORTRAIT), "max_faces": []}, "max_faces"),
        ("/analyze", {"img": text(PORTRAIT), "actions": ["age"]}, "only verifies"),
    ],
)
def test_what_is_not_here_is_refused_by_its_name(played: Played, path: str, body: dict[str, Any], word: str) -> None:
    answer = post(played, path, json=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert word in answer.json()["error"]


def test_without_a_key(played: Played) -> None:
    answer = httpx.post(f"{played.scene.backend_url}/represent", json={"img": text(PORTRAIT)})
    assert (answer.status_code, list(answer.json())) == (401, ["error"])
