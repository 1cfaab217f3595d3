import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import RecipeError, RecipeMismatch
from shared.recipe import MAX_TEXT, PREFIX, Recipe

GOOD = Recipe("0123456789abcdef", "keyed", "heun", 16, "a glacier", bytes(range(16)), b"\x00\xff" * 80)
names = st.text(min_size=1, max_size=40)
recipes = st.builds(
    Recipe, names, names, names, st.integers(1, 1000), st.text(min_size=1, max_size=256),
    st.binary(min_size=16, max_size=16), st.binary(max_size=300),
)  # fmt: skip


@given(recipes)
def test_text_and_back(recipe: Recipe) -> None:
    text = recipe.to_text()
    assert Recipe.from_text(text) == recipe
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text


@given(st.text(max_size=300) | st.text(max_size=300).map(lambda t: PREFIX + t) | st.binary(max_size=200).map(
    lambda b: PREFIX + base64.urlsafe_b64encode(b).decode()))  # fmt: skip
def test_anything_else_is_one_clear_error(text: str) -> None:
    with pytest.raises((RecipeError, RecipeMismatch)):
        Recipe.from_text(text)


@given(st.integers(0, len(GOOD.to_text()) - 1), st.characters(codec="ascii"))
def test_a_changed_character_never_crashes(position: int, character: str) -> None:
    text = GOOD.to_text()
    changed = text[:position] + character + text[position + 1 :]
    try:
        Recipe.from_text(changed)
    except (RecipeError, RecipeMismatch):
        return


def damaged(**changes: object) -> str:
    fields = json.loads(base64.urlsafe_b64decode(GOOD.to_text()[len(PREFIX) :] + "=="))
    body = json.dumps({**fields, **changes}).encode()
    return PREFIX + base64.urlsafe_b64encode(body).decode().rstrip("=")


@pytest.mark.parametrize(
    "changes", [{"k": 0}, {"k": "16"}, {"k": True}, {"n": "AA=="}, {"n": 5}, {"m": ""}, {"d": 1}, {"x": 1}]
)
def test_fields_out_of_range(changes: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        Recipe.from_text(damaged(**changes))


def test_another_version_is_a_mismatch() -> None:
    with pytest.raises(RecipeMismatch):
        Recipe.from_text(GOOD.to_text().replace("ddsr2", "ddsr1"))


def test_length_is_bounded() -> None:
    with pytest.raises(RecipeError):
        Recipe.from_text(PREFIX + "A" * MAX_TEXT)


def test_the_text_form_is_pinned() -> None:
    pinned = Recipe("0123456789abcdef", "paper", "ddim", 60, "a", bytes(16))
    assert base64.urlsafe_b64decode(pinned.to_text()[len(PREFIX) :] + "==") == (
        b'{"d":"a","k":60,"l":"","m":"0123456789abcdef","n":"AAAAAAAAAAAAAAAAAAAAAA==","s":"paper","v":"ddim"}'
    )
