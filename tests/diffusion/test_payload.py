"""The seal around the code of a face: what opens, what does not, and what shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.diffusion.payload import OVERHEAD, seal, unseal
from shared.errors import NotAuthentic

KEY, DATA = bytes(range(32)), b"ddsr3.recipe"
codes = st.binary(max_size=60) | st.binary(max_size=20).map(lambda code: code + b"\x80\0\0")


@given(codes, st.integers(0, 40))
def test_a_code_comes_back_from_exactly_the_length_asked(code: bytes, more: int) -> None:
    length = len(code) + OVERHEAD + more
    sealed = seal(code, KEY, DATA, length)
    assert len(sealed) == length
    assert unseal(sealed, KEY, DATA) == code


@given(st.integers(0, 99), st.integers(1, 255))
def test_any_altered_byte_is_refused(place: int, change: int) -> None:
    sealed = bytearray(seal(b"a face", KEY, DATA, 100))
    sealed[place] ^= change
    with pytest.raises(NotAuthentic):
        unseal(bytes(sealed), KEY, DATA)


@pytest.mark.parametrize(
    ("key", "data", "cut"),
    [
        (bytes(32), DATA, 100),
        (KEY, b"", 100),
        (KEY, DATA + b"x", 100),
        (KEY, DATA, 99),
        (KEY, DATA, 15),
        (KEY, DATA, 0),
    ],
)
def test_another_key_another_recipe_and_a_cut_are_refused_alike(key: bytes, data: bytes, cut: int) -> None:
    with pytest.raises(NotAuthentic) as refused:
        unseal(seal(b"a face", KEY, DATA, 100)[:cut], key, data)
    assert refused.value.detail == "the prompt is wrong, or the picture was changed beyond repair"


def test_what_does_not_fit_is_not_cut() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        seal(bytes(101 - OVERHEAD), KEY, DATA, 100)


def test_lengths_of_codes_do_not_show() -> None:
    """Codes of any length give sealed bytes of one length; the ciphertexts differ where the plain texts do."""
    assert {len(seal(bytes(n), KEY, DATA, 300)) for n in range(300 - OVERHEAD + 1)} == {300}


def test_a_key_is_used_for_this_purpose_alone() -> None:
    """The vector fixes the derivation: another purpose, cipher or padding would give other bytes."""
    assert seal(b"a face", KEY, DATA, 32).hex() == "bacf4f1b609dd0ca2d6d4311e662d75b2c85098e98462061f521af2f6b17fbc3"
