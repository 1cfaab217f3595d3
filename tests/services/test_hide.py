"""`POST /hide` and `POST /recover` from end to end, over a real queue."""

import numpy as np
import pytest

from shared.recipe import Recipe
from tests.pictures import encoded, pixels
from tests.services.conftest import DISGUISE, PROMPT, Clients, face, hide_form
from tests.worker.arithmetic import ArithmeticModel


def test_hide_answers_with_picture_and_recipe(sender: Clients) -> None:
    answer = sender().post("/hide", **hide_form(steps=4))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["DDSR-Job"]
    recipe = Recipe.from_text(answer.headers["DDSR-Recipe"])
    assert (recipe.model, recipe.disguise_prompt, recipe.steps) == (ArithmeticModel.fingerprint, DISGUISE, 4)
    stego = pixels(answer.content)
    assert stego.shape == (ArithmeticModel.image_size,) * 2 + (3,)
    assert not np.array_equal(stego, face())


@pytest.mark.parametrize("stripped", [False, True])
def test_recover_gives_the_face_back(sender: Clients, receiver: Clients, stripped: bool) -> None:
    """With the recipe inside the PNG, and with one that the channel took out and the caller sends."""
    hidden = sender().post("/hide", **hide_form())
    stego = encoded(pixels(hidden.content)) if stripped else hidden.content
    extra = {"recipe": hidden.headers["DDSR-Recipe"]} if stripped else {}
    answer = receiver().post("/recover", data={"identity_prompt": PROMPT, **extra}, files={"stego": ("a.png", stego)})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/png"
    assert "DDSR-Recipe" not in answer.headers
    assert np.array_equal(pixels(answer.content), face())


def test_a_wrong_prompt_is_200_and_another_picture(sender: Clients, receiver: Clients) -> None:
    stego = sender().post("/hide", **hide_form()).content
    client = receiver()
    answers = [
        client.post("/recover", data={"identity_prompt": prompt}, files={"stego": ("a.png", stego)})
        for prompt in (PROMPT, "a wrong one")
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    right, wrong = ({name for name in answer.headers if name not in ("content-length",)} for answer in answers)
    assert right == wrong
    assert not np.array_equal(pixels(answers[1].content), face())


@pytest.mark.parametrize(
    ("form", "accept", "media"),
    [
        ("jpeg", "*/*", "image/jpeg"),
        ("webp", "image/*", "image/webp"),
        (None, "image/webp", "image/webp"),
        (None, "image/jpeg;q=0.9, image/png;q=0.1", "image/png"),
        (None, "image/jpeg;q=0.9, image/png;q=0", "image/jpeg"),
    ],
)
def test_the_format_is_negotiated(sender: Clients, form: str | None, accept: str, media: str) -> None:
    answer = sender().post("/hide", **hide_form(format=form), headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == media


def test_any_photograph_is_cropped_and_fitted_by_default(sender: Clients) -> None:
    photograph = np.random.default_rng(1).integers(0, 256, (200, 310, 3), dtype=np.uint8)
    client = sender()
    assert client.post("/hide", **hide_form(image=encoded(photograph, "JPEG"), crop=None)).status_code == 200
    refused = client.post("/hide", **hide_form(image=encoded(photograph)[:-500], crop="none"))  # seen by its header
    assert (refused.status_code, refused.json()["code"]) == (422, "wrong-picture-size")


def test_an_upload_over_one_mebibyte_stays_in_memory(sender: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("an upload was spilled to the temporary folder")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", never)
    large = encoded(np.random.default_rng(2).integers(0, 256, (900, 900, 3), dtype=np.uint8))
    assert len(large) > 2 * 1024 * 1024
    assert sender().post("/hide", **hide_form(image=large, crop=None)).status_code == 200


def test_a_failed_job_answers_with_its_own_error(sender: Clients) -> None:
    answer = sender().post("/hide", **hide_form(disguise_prompt="poison"))
    assert (answer.status_code, answer.json()["code"]) == (500, "computation-failed")
    assert answer.json()["job"]


def hide_sealed(sender: Clients, **options: object) -> tuple[bytes, Recipe]:
    answer = sender().post("/hide", **hide_form(scheme="sealed", crop="centre", **options))
    assert answer.status_code == 200, answer.text
    return answer.content, Recipe.from_text(answer.headers["DDSR-Recipe"])


@pytest.mark.parametrize(
    ("form", "status", "authentic"),
    [
        ({"identity_prompt": PROMPT}, 200, "true"),
        ({"identity_prompt": "wrong", "decoy": "true"}, 200, "false"),
        ({"identity_prompt": "wrong"}, 422, None),
    ],
)
def test_a_sealed_face_is_authentic_or_refused(
    sender: Clients, receiver: Clients, form: dict[str, str], status: int, authentic: str | None
) -> None:
    stego, recipe = hide_sealed(sender, channel="jpeg", face_size="160")
    assert recipe.scheme == "sealed"
    answer = receiver().post("/recover", data=form, files={"stego": ("a.png", stego)})
    assert (answer.status_code, answer.headers.get("DDSR-Authentic")) == (status, authentic)
    if status == 422:
        assert answer.json()["code"] == "not-authentic"


def test_a_sealed_stego_of_another_size_is_taken(sender: Clients, receiver: Clients) -> None:
    stego, recipe = hide_sealed(sender)
    twice = encoded(pixels(stego).repeat(2, 0).repeat(2, 1))
    form = {"identity_prompt": PROMPT, "recipe": recipe.to_text()}
    assert receiver().post("/recover", data=form, files={"stego": ("a.png", twice)}).status_code == 200


@pytest.mark.parametrize(
    "options",
    [
        {"scheme": "keyed", "channel": "jpeg"},
        {"scheme": "paper", "face_size": "128"},
        {"scheme": "sealed", "face_size": "127"},
        {"scheme": "sealed", "format": "jpeg"},
        {"scheme": "sealed", "channel": "lossless", "format": "webp"},
    ],
)
def test_options_that_contradict_each_other_are_refused(sender: Clients, options: dict[str, str]) -> None:
    answer = sender().post("/hide", **hide_form(**options))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-option")
