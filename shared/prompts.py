"""The canonical form of a prompt: what the key is stretched from and what the text encoder reads.

The same words are the same secret, whichever program, phone or file they come from. Version 3, by the numbers of the
recipes, drops what nobody sees and folds what keyboards change by themselves:

    Unicode form NFKC and full case folding; dotted and dotless i are one letter
    format characters (category Cf), variation selectors and the other ignorable characters are dropped
    quotes and primes become ' or ", a run of dashes one -
    a run of white space (line ends and tabs included) becomes one space; none at the ends

until nothing changes any more. Version 2 is NFKC and white space alone.
"""

import re
import unicodedata

from shared.errors import InvalidPrompt, PromptTooLong
from shared.limits import MAX_PROMPT
from shared.recipe import VERSION

# Default_Ignorable_Code_Point of Unicode less Cf: variation selectors, joiners of graphemes, fillers of Hangul, vowels.
_IGNORED = (
    *range(0xFE00, 0xFE10),
    *range(0xE0100, 0xE01F0),
    0x180B,
    0x180C,
    0x180D,
    0x180F,
    0x034F,
    0x115F,
    0x1160,
    0x3164,
    0xFFA0,
    0x17B4,
    0x17B5,
)
_SINGLE = (
    "\u0060\u00b4\u02b9\u02bb\u02bc\u02bd\u02c8\u02ca\u02cb\u055a\u05f3\u2018\u2019\u201a\u201b\u2032\u2035\u2039\u203a"
    "\ua78c"
)
_DOUBLE = (
    "\u00ab\u00bb\u02ba\u02dd\u02ee\u05f4\u201c\u201d\u201e\u201f\u2033\u2036\u2e42\u300c\u300d\u300e\u300f\u301d\u301e"
    "\u301f"
)
_DASHES = "\u2043\u207b\u208b\u2212"  # beside the category Pd
_FOLDED = str.maketrans(
    {
        **dict.fromkeys(map(chr, _IGNORED)),
        **dict.fromkeys(_SINGLE, "'"),
        **dict.fromkeys(_DOUBLE, '"'),
        **dict.fromkeys(_DASHES, "-"),
        "\u0131": "i",
    }
)


def canonical_prompt(
    prompt: str, version: int = VERSION, *, name: str = "the prompt", longest: int = MAX_PROMPT
) -> bytes:
    """UTF-8 of the canonical form of a prompt, for a recipe of `version` (2 or 3). It is its own canonical form.

    Args:
        name: what an error calls the prompt.
        longest: characters that the canonical form may have.

    Raises:
        InvalidPrompt: nothing is left, or it has control characters, half characters or, from version 3 on, such as
            this program's Unicode does not know: another Unicode may fold them otherwise.
        PromptTooLong: more than `longest` characters.
    """
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise InvalidPrompt(f"{name} is no Unicode text")
    text = _folded(prompt) if version >= 3 else _spaced(unicodedata.normalize("NFKC", prompt))
    if not text:
        raise InvalidPrompt(f"{name} is empty")
    kinds = {unicodedata.category(character) for character in text}
    if "Cc" in kinds:
        raise InvalidPrompt(f"{name} holds a control character")
    if version >= 3 and "Cn" in kinds:
        raise InvalidPrompt(f"{name} holds a character that Unicode {unicodedata.unidata_version} does not know")
    if len(text) > longest:
        raise PromptTooLong(f"{name} has more than {longest} characters in its canonical form; shorten it")
    return text.encode()


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _folded(text: str) -> str:
    """Case folding undoes NFKC, and both bring forth characters to fold, so it goes on until nothing changes."""
    while (folded := _once(text)) != text:
        text = folded
    return text


def _once(text: str) -> str:
    plain = "".join(map(_plain, unicodedata.normalize("NFC", text).translate(_FOLDED)))
    folded = unicodedata.normalize("NFKC", plain).casefold().replace("i\u0307", "i")
    return _spaced(re.sub("-+", "-", unicodedata.normalize("NFKC", folded)))


def _plain(character: str) -> str:
    kind = unicodedata.category(character)
    return "" if kind == "Cf" else "-" if kind == "Pd" else character
