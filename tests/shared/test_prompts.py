"""The canonical form of prompts: what is one secret, what is refused, and that the form is its own."""

import json
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import DdsrError, InvalidPrompt, PromptTooLong
from shared.limits import MAX_PROMPT
from shared.prompts import canonical_prompt

VECTORS = json.loads((Path(__file__).parent / "vectors" / "prompts.json").read_text("utf-8"))["vectors"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text(
    st.sampled_from(
        "iI\u0130\u0131\u0149\u0390\u03b0\u017f\u00df\u03c2\u03c3\u0300\u0301\u0307\u0327"
        "\u0345'\u00b4\u2019\u2014-\u00ad\u200d\ufe0f \u2017\u3164\u01f0\u1fb3\ufb03"
    ),
    max_size=12,
)


@pytest.mark.parametrize(("form", "spellings"), VECTORS, ids=[form for form, _ in VECTORS])
def test_one_secret_in_many_spellings(form: str, spellings: list[str]) -> None:
    assert {canonical_prompt(text).decode() for text in [form, *spellings]} == {form}


@given(TEXTS)
@example("\u0390\u0345")
def test_the_form_is_its_own_and_holds_nothing_unseen(text: str) -> None:
    try:
        once = canonical_prompt(text).decode()
    except InvalidPrompt:
        return
    assert canonical_prompt(once).decode() == once == unicodedata.normalize("NFKC", once)
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cn", "Cs", "Pd") and c != "-" for c in once)
    assert canonical_prompt(unicodedata.normalize("NFD", text)) == canonical_prompt(text)


@given(TEXTS, st.sampled_from("\u200b\ufeff\u2060\u00ad\ufe0f\U000e0100"), st.integers(0, 12))
def test_what_nobody_sees_counts_nowhere(text: str, unseen: str, place: int) -> None:
    assert outcome(text[:place] + unseen + text[place:]) == outcome(text)


def outcome(text: str) -> bytes | type[DdsrError]:
    try:
        return canonical_prompt(text)
    except DdsrError as error:
        return type(error)


def test_every_character_has_a_form_or_is_refused() -> None:
    for start in range(0, sys.maxunicode + 1, 64):
        for character in map(chr, range(start, start + 64)):
            form = outcome(character)
            assert form is InvalidPrompt or outcome(str(form, "utf-8")) == form, hex(ord(character))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", InvalidPrompt),
        (" \u2003\t\r\n", InvalidPrompt),
        ("\ufeff\u200b\u00ad", InvalidPrompt),
        ("a\x00b", InvalidPrompt),
        ("bell\x07", InvalidPrompt),
        ("a\ud800", InvalidPrompt),
        ("a\U0003ffff", InvalidPrompt),
        ("x" * (MAX_PROMPT + 1), PromptTooLong),
        ("\ufdfa" * 20, PromptTooLong),  # 18 characters each
    ],
)
def test_refused_by_name_and_not_quoted(text: str, error: type[DdsrError]) -> None:
    with pytest.raises(error) as caught:
        canonical_prompt(text, name="identity_prompt")
    assert caught.value.detail.startswith("identity_prompt ")
    assert "bell" not in caught.value.detail


def test_length_counts_the_canonical_form() -> None:
    assert canonical_prompt("x\u200b" * MAX_PROMPT) == b"x" * MAX_PROMPT
    assert canonical_prompt("a" * 10, longest=10) == b"a" * 10
    with pytest.raises(PromptTooLong):
        canonical_prompt("a" * 11, longest=10)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("a  smiling\twoman ", "a smiling woman"),
        ("Zoe\u0308", "Zoë"),
        ("A \u2018Smiling\u2019 Woman \u2014 7", "A \u2018Smiling\u2019 Woman \u2014 7"),
        ("\ufeffa\u200bb\u00ad", "\ufeffa\u200bb\u00ad"),
    ],
)
def test_version_2_folds_white_space_and_nfkc_alone(text: str, form: str) -> None:
    assert canonical_prompt(text, 2).decode() == form
