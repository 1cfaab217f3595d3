import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import RecipeError, RecipeMismatch
from shared.limits import MAX_STEPS
from shared.recipe import MAX_TEXT, PREFIX, Recipe, clean_recipe

GOOD = Recipe("0123456789abcdef", "keyed", "heun", 16, "a glacier", bytes(range(16)), b"\x00\xff" * 80)
OLD = replace(GOOD, version=2)
names = st.text(min_size=1, max_size=40)
recipes = st.builds(
    Recipe,
    names,
    names,
    names,
    st.integers(1, MAX_STEPS),
    st.text(min_size=1, max_size=256),
    st.binary(min_size=16, max_size=16),
    st.binary(max_size=300),
    st.integers(0, 255),
) | st.builds(
    Recipe,
    names,
    names,
    names,
    st.integers(1, MAX_STEPS),
    names,
    st.binary(min_size=16, max_size=16),
    st.binary(max_size=300),
    version=st.just(2),
)


@given(recipes)
def test_text_and_back(recipe: Recipe) -> None:
    text = recipe.to_text()
    assert Recipe.from_text(text) == recipe
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text
    assert recipe.associated_data == text.encode()


@given(recipes, recipes)
def test_different_recipes_bind_different_bytes(one: Recipe, other: Recipe) -> None:
    assert (one.associated_data == other.associated_data) == (one == other)


@given(
    st.text(max_size=300)
    | st.text(max_size=300).map(lambda t: PREFIX + t)
    | st.binary(max_size=200).map(lambda b: PREFIX + base64.urlsafe_b64encode(b).decode())
)
def test_anything_else_is_one_clear_error(text: str) -> None:
    with pytest.raises((RecipeError, RecipeMismatch)):
        Recipe.from_text(text)


@given(st.integers(0, len(GOOD.to_text()) - 1), st.characters(codec="ascii"))
def test_a_changed_character_never_crashes(position: int, character: str) -> None:
    text = GOOD.to_text()
    changed = text[:position] + character + text[position + 1 :]
    try:
        found = Recipe.from_text(changed)
    except (RecipeError, RecipeMismatch):
        return
    assert (found == GOOD) == (changed == text)


def damaged(good: Recipe = GOOD, **changes: object) -> str:
    text = good.to_text()
    fields = {**json.loads(base64.urlsafe_b64decode(text[len(PREFIX) :] + "==")), **changes}
    body = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return text[: len(PREFIX)] + base64.urlsafe_b64encode(body).decode().rstrip("=")


@pytest.mark.parametrize(
    "changes",
    [
        {"k": 0},
        {"k": "16"},
        {"k": True},
        {"k": MAX_STEPS + 1},
        {"n": "AA=="},
        {"n": 5},
        {"m": ""},
        {"d": 1},
        {"x": 1},
        {"r": 256},
        {"r": -1},
        {"r": "1"},
        {"r": True},
        {"l": 3},
    ],
)
@pytest.mark.parametrize("good", [GOOD, OLD], ids=["3", "2"])
def test_fields_out_of_range(good: Recipe, changes: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        Recipe.from_text(damaged(good, **changes))


@pytest.mark.parametrize("changes", [{"r": 0}, {"l": ""}])
def test_a_default_value_is_not_written_out(changes: dict[str, object]) -> None:
    with pytest.raises(RecipeError):
        Recipe.from_text(damaged(Recipe("0" * 16, "sealed", "heun", 5, "a", bytes(16), b"", 0), **changes))


def test_a_field_that_is_missing_is_an_error() -> None:
    for good in (GOOD, OLD):
        fields = json.loads(base64.urlsafe_b64decode(good.to_text()[len(PREFIX) :] + "=="))
        for name in set(fields) - ({"l"} if good.version == 3 else set()):
            body = json.dumps({k: v for k, v in fields.items() if k != name}, sort_keys=True, separators=(",", ":"))
            with pytest.raises(RecipeError):
                Recipe.from_text(good.to_text()[: len(PREFIX)] + base64.urlsafe_b64encode(body.encode()).decode())


def test_version_2_has_no_rate() -> None:
    with pytest.raises(RecipeError):
        replace(OLD, rate=1)
    with pytest.raises(RecipeError):
        replace(OLD, version=4)


def test_versions_do_not_go_into_one_batch() -> None:
    assert replace(OLD, version=3).batch_key != OLD.batch_key


def test_a_recipe_of_sealed_is_short() -> None:
    sealed = Recipe("0123456789abcdef", "sealed", "adams-whitened", 250, "x" * 60, bytes(range(16)), rate=255)
    assert len(sealed.to_text()) < 300


@pytest.mark.parametrize(
    "around", ["{}", " {}\r\n", "DDSR-Recipe: {}", "ddsr-recipe:{}\n", "\ufeff{}", '"{}"', "\tDDSR-RECIPE:  {}"]
)
def test_what_people_put_around_a_recipe_is_dropped(around: str) -> None:
    text = GOOD.to_text()
    assert clean_recipe(around.format(text)) == text
    assert clean_recipe(around.format(f"{text[:70]}\r\n {text[70:]}")) == text


@pytest.mark.parametrize("version", ["ddsr1", "ddsr4", "ddsr33", "ddsr03"])
def test_another_version_is_a_mismatch(version: str) -> None:
    with pytest.raises(RecipeMismatch):
        Recipe.from_text(GOOD.to_text().replace("ddsr3", version))


def test_length_is_bounded() -> None:
    with pytest.raises(RecipeError):
        Recipe.from_text(PREFIX + "A" * MAX_TEXT)


def test_the_text_form_is_pinned() -> None:
    pinned = Recipe("0123456789abcdef", "paper", "ddim", 60, "a", bytes(16), version=2)
    assert pinned.to_text().startswith("ddsr2.")
    assert base64.urlsafe_b64decode(pinned.to_text()[len(PREFIX) :] + "==") == (
        b'{"d":"a","k":60,"l":"","m":"0123456789abcdef","n":"AAAAAAAAAAAAAAAAAAAAAA==","s":"paper","v":"ddim"}'
    )
    newer = replace(pinned, version=3)
    assert base64.urlsafe_b64decode(newer.to_text()[len(PREFIX) :] + "==") == (
        b'{"d":"a","k":60,"m":"0123456789abcdef","n":"AAAAAAAAAAAAAAAAAAAAAA==","s":"paper","v":"ddim"}'
    )
    assert replace(newer, lengths=b"\1", rate=7).to_text() == (
        "ddsr3."
        + base64.urlsafe_b64encode(
            b'{"d":"a","k":60,"l":"AQ==","m":"0123456789abcdef","n":"AAAAAAAAAAAAAAAAAAAAAA==","r":7,"s":"paper",'
            b'"v":"ddim"}'
        )
        .decode()
        .rstrip("=")
    )
