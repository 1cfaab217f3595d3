"""Uploads and prompts before they become a job."""

import random
import struct
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from services.common.context import Context
from services.common.settings import ServiceSettings
from services.common.uploads import check_prompt, check_recipe, check_steps, read_stego, upright_picture
from shared.errors import (
    BrokenPicture,
    DdsrError,
    InvalidOption,
    InvalidPrompt,
    MissingRecipe,
    PictureTooLarge,
    PromptTooLong,
    RecipeMismatch,
    UnsupportedPicture,
    WrongPictureSize,
)
from shared.imaging import encode_picture, fit_square
from shared.jobs import WorkerInfo
from shared.recipe import Recipe
from tests.pictures import encoded
from tests.services.conftest import face

RECIPE = Recipe("a" * 16, "keyed", "sum", 5, "a man", bytes(16))
TEXT = RECIPE.to_text()


def context(**settings: Any) -> Context:
    """All of a context that the decoding asks for."""
    return cast(Context, SimpleNamespace(settings=ServiceSettings(**settings)))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_damaged_picture_is_refused_or_read_but_never_breaks(form: str) -> None:
    whole = encoded(face(24), form)
    chance = random.Random(7)
    answers = []
    for _ in range(60):
        damaged = bytearray(whole[: chance.randrange(1, len(whole) + 1)])
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        answers.append(outcome(bytes(damaged)))
    assert set(answers) <= {200, 413, 415, 422}
    assert sum(status != 200 for status in answers) > 20


def outcome(data: bytes) -> int:
    """The status that an upload is answered with."""
    try:
        found = fit_square(upright_picture(context(), data), 32)
    except DdsrError as error:
        return error.status
    return 200 if found.shape == (32, 32, 3) else 0


@pytest.mark.parametrize("error", [struct.error("canary"), TypeError("canary"), UserWarning("canary")])
def test_what_a_decoder_raises_is_not_repeated(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("services.common.uploads.decode_photograph", raising)
    with pytest.raises(BrokenPicture) as caught:
        upright_picture(context(), b"", 32)
    assert "canary" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_side_too_long_is_refused() -> None:
    long = encoded(np.zeros((20, 300, 3), dtype=np.uint8))
    with pytest.raises(PictureTooLarge):
        upright_picture(context(max_side=200), long)
    assert upright_picture(context(max_side=300), long).shape == (20, 300, 3)


@pytest.mark.parametrize(
    "text",
    ["a", "a" * 256, "Größe 顔 🙂", " padded ", "zero\u200dwidth", "two\nlines\tand more\r\n", "a" * 256 + "\ufeff"],
)
def test_usable_prompts_stay_as_they_are(text: str) -> None:
    assert check_prompt(text, "identity_prompt", 256) == text


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", InvalidPrompt),
        (" \u2003", InvalidPrompt),
        ("a\x00b", InvalidPrompt),
        ("a\x7f", InvalidPrompt),
        ("a\ud800", InvalidPrompt),
        ("a" * 257, PromptTooLong),
        ("\ufdfa" * 20, PromptTooLong),  # 360 characters in NFKC
    ],
)
def test_unusable_prompts(text: str, error: type[DdsrError]) -> None:
    with pytest.raises(error) as caught:
        check_prompt(text, "identity_prompt", 256)
    assert caught.value.detail.startswith("identity_prompt ")


def test_steps() -> None:
    assert check_steps(None, 200) is None
    assert check_steps(200, 200) == 200
    with pytest.raises(InvalidOption):
        check_steps(201, 200)


def workers(model: str = "a" * 16) -> list[WorkerInfo]:
    return [WorkerInfo("one", "", model, 32)]


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_the_recipe_of_the_form_and_the_one_in_the_file(form: Any) -> None:
    stego, bare = encode_picture(face(), form, recipe=TEXT), encode_picture(face(), form)
    other = Recipe("a" * 16, "keyed", "sum", 9, "a man", bytes(16))
    for given in (None, " ", TEXT, f"DDSR-Recipe: {TEXT}\n"):
        assert read_stego(context(), stego, given, workers())[1] == RECIPE
    assert read_stego(context(), bare, other.to_text(), workers())[1] == other
    with pytest.raises(RecipeMismatch):
        read_stego(context(), stego, other.to_text(), workers())
    with pytest.raises(RecipeMismatch):
        read_stego(context(), stego, None, workers("b" * 16))
    with pytest.raises(MissingRecipe):
        read_stego(context(), bare, None, workers())


def test_what_is_wrong_with_a_picture_is_said_before_what_is_wrong_with_its_recipe() -> None:
    with pytest.raises(UnsupportedPicture):
        read_stego(context(), b"no", None, workers())
    with pytest.raises(WrongPictureSize):
        read_stego(context(), encode_picture(face(48), "png"), None, workers())


def test_a_stego_of_sealed_may_have_another_size_and_no_other_may() -> None:
    large = face(48)
    sealed = replace(RECIPE, scheme="sealed").to_text()
    assert read_stego(context(), encode_picture(large, "png"), sealed, workers())[0].width == 32
    with pytest.raises(WrongPictureSize):
        read_stego(context(), encode_picture(large, "png"), TEXT, workers())


def test_a_recipe_may_not_ask_for_more_steps_than_the_service_computes() -> None:
    long = Recipe("a" * 16, "keyed", "sum", 201, "a man", bytes(16))
    assert check_recipe(long, workers(), 201) == long
    with pytest.raises(InvalidOption):
        check_recipe(long, workers(), 200)
