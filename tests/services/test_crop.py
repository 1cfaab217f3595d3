"""`crop` over HTTP, with real photographs."""

import re
from typing import Any

import numpy as np
import pytest

from shared.faces import face_box
from shared.imaging import fit_square
from tests.pictures import encoded, pixels
from tests.services.conftest import PROMPT, Clients, hide_form
from tests.shared.test_faces import photograph

ONE = photograph(900, 600, (600, 180, 232))


def box_of(header: str) -> dict[str, Any]:
    found: dict[str, Any] = {name: int(value) for name, value in re.findall(r"([a-z]+)=(\d+)", header)}
    return found | {"of": header.rpartition(", of=")[2]}


def expected() -> dict[str, Any]:
    box = face_box(ONE)
    return {"left": box.left, "top": box.top, "width": box.side, "height": box.side, "of": box.of}


@pytest.mark.parametrize("crop", ["face", "auto", None])
def test_the_answer_says_what_was_cut_and_the_face_comes_back(
    crop: str | None, sender: Clients, receiver: Clients
) -> None:
    hidden = sender().post("/hide", **hide_form(image=encoded(ONE), crop=crop))
    assert hidden.status_code == 200, hidden.text
    box = box_of(hidden.headers["DDSR-Crop"])
    assert box == expected()
    back = receiver().post("/recover", data={"identity_prompt": PROMPT}, files={"stego": ("a.png", hidden.content)})
    part = ONE[box["top"] : box["top"] + box["height"], box["left"] : box["left"] + box["width"]]
    face = pixels(back.content)
    np.testing.assert_array_equal(face, fit_square(part, face.shape[0]))


def test_a_job_says_it_at_its_submission_and_never_again(sender: Clients) -> None:
    client = sender()
    answer = client.post("/hide", **hide_form(image=encoded(ONE), crop="face"), headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    assert answer.json()["crop"] == expected() == box_of(answer.headers["DDSR-Crop"])
    job = client.get(answer.headers["Location"], params={"wait": 30})
    assert job.json()["state"] == "done"
    assert "crop" not in job.json()
    assert "DDSR-Crop" not in client.get(job.json()["links"]["result"]).headers


@pytest.mark.parametrize(("crop", "rgb"), [("centre", ONE), ("auto", photograph(900, 600))])
def test_the_centre_is_said_too(sender: Clients, crop: str, rgb: Any) -> None:
    centre = {"left": 150, "top": 0, "width": 600, "height": 600, "of": "centre"}
    client = sender()
    assert box_of(client.post("/hide", **hide_form(image=encoded(rgb), crop=crop)).headers["DDSR-Crop"]) == centre
    later = client.post("/hide", **hide_form(image=encoded(rgb), crop=crop), headers={"Prefer": "respond-async"})
    assert later.json()["crop"] == centre


def test_without_cropping_nothing_is_said(sender: Clients) -> None:
    client, square = sender(), encoded(fit_square(ONE, 32))
    assert "DDSR-Crop" not in client.post("/hide", **hide_form(image=square, crop="none")).headers
    later = client.post("/hide", **hide_form(image=square, crop="none"), headers={"Prefer": "respond-async"})
    assert "crop" not in later.json()


@pytest.mark.parametrize("form", ["GIF", "TIFF", "BMP"])
def test_other_formats_are_named_with_those_that_are_taken(sender: Clients, form: str) -> None:
    answer = sender().post("/hide", **hide_form(image=encoded(ONE, form)))
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-picture")
    assert f"the file is {form}" in answer.json()["detail"]
    assert "send JPEG, PNG, WebP, AVIF or HEIC" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("picture", "code", "advice"),
    [
        (photograph(900, 600), "no-face", "from the front"),
        (photograph(900, 600, (50, 100, 260), (560, 250, 240)), "several-faces", "2 faces"),
    ],
)
def test_no_face_or_several_is_a_problem_with_advice(sender: Clients, picture: Any, code: str, advice: str) -> None:
    answer = sender().post("/hide", **hide_form(image=encoded(picture), crop="face"))
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert advice in answer.json()["detail"]
    assert "crop=centre" in answer.json()["detail"]
