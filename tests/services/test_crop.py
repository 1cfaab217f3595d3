"""`crop=face` over HTTP, with real photographs."""

import re
from typing import Any

import numpy as np
import pytest

from shared.faces import face_box
from shared.imaging import fit_square
from tests.services.conftest import PROMPT, Clients, encoded, hide_form, pixels
from tests.shared.test_faces import photograph

ONE = photograph(900, 600, (600, 180, 232))


def box_of(header: str) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(r"([a-z]+)=(\d+)", header)}


def expected() -> dict[str, int]:
    box = face_box(ONE)
    return {"left": box.left, "top": box.top, "width": box.side, "height": box.side}


def test_the_answer_says_what_was_cut_and_the_face_comes_back(sender: Clients, receiver: Clients) -> None:
    hidden = sender().post("/hide", **hide_form(image=encoded(ONE), crop="face"))
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


@pytest.mark.parametrize("crop", [None, "centre"])
def test_other_crops_say_nothing(sender: Clients, crop: str | None) -> None:
    client = sender()
    assert "DDSR-Crop" not in client.post("/hide", **hide_form(image=encoded(ONE), crop=crop)).headers
    later = client.post("/hide", **hide_form(image=encoded(ONE), crop=crop), headers={"Prefer": "respond-async"})
    assert "crop" not in later.json()


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
