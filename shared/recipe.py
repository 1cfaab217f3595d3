"""The recipe: the public parameters of one hiding, as compact text.

The receiver needs them besides the stego and the identity prompt. They are public: the disguise prompt describes what
the stego shows anyway, and the nonce is no secret. The text form is

    ddsr3.<base64url of canonical JSON, no padding>

ASCII without spaces, so that it fits an HTTP header and a PNG text chunk. The leading number is the version of the
text form and of the method. New recipes are of version 3. Those of version 2 are read as ever: they have all fields but
`rate` written out, and their prompts another canonical form (`shared.prompts`). A recipe of version 3 leaves out fields
that have their default value, and has one text: another spelling of the same fields is refused.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass, fields
from typing import Any

from shared.errors import RecipeError, RecipeMismatch
from shared.limits import MAX_PROMPT, MAX_STEPS

VERSION = 3  # 1: mixing by matrices written out; 2: prompts whose case, quotes and invisible characters count
VERSIONS = (2, 3)
PREFIX = f"ddsr{VERSION}."
NONCE_BYTES = 16
MAX_LENGTHS = 1024  # bytes
MAX_TEXT = 4096  # characters; longer input is refused before it is decoded
_KEYS = {
    "d": "disguise_prompt",
    "k": "steps",
    "l": "lengths",
    "m": "model",
    "n": "nonce",
    "r": "rate",
    "s": "scheme",
    "v": "solver",
}
_BINARY = ("l", "n")
_START = re.compile(r"ddsr([0-9]+)\.")
_HEADER = re.compile(r"ddsr-recipe:", re.IGNORECASE)


@dataclass(frozen=True)
class Recipe:
    """Public parameters of one hiding.

    Attributes:
        model: fingerprint of the model, 16 lower-case hex digits.
        scheme: name of the scheme (`shared.diffusion.pipeline.SCHEMES`).
        solver: name of the solver (`shared.diffusion.solvers.SOLVERS`).
        steps: diffusion steps of one pass, 1..MAX_STEPS.
        disguise_prompt: the public prompt under which the stego was drawn, 1..MAX_PROMPT characters.
        nonce: 16 bytes, fresh for every hiding; never used twice under one identity prompt.
        lengths: of scheme `keyed`, the masked lengths of the latent's groups (`shared.diffusion.keying`), 0..1024
            bytes; without the key they are random.
        rate: of scheme `sealed`, index into its table of rates, 0..255; 0 for every other scheme.
        version: 3, or 2 of an old recipe.
    """

    model: str
    scheme: str
    solver: str
    steps: int
    disguise_prompt: str
    nonce: bytes
    lengths: bytes = b""
    rate: int = 0
    version: int = VERSION

    def __post_init__(self) -> None:
        texts = (self.model, self.scheme, self.solver, self.disguise_prompt)
        if not all(isinstance(text, str) and 0 < len(text) <= MAX_PROMPT for text in texts):
            raise RecipeError("a text field of the recipe is missing, empty or too long")
        if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
            raise RecipeError("a text field of the recipe is no Unicode")  # JSON's escapes can write half a character
        if len(self.nonce) != NONCE_BYTES:
            raise RecipeError(f"the nonce of a recipe has {NONCE_BYTES} bytes")
        if len(self.lengths) > MAX_LENGTHS:
            raise RecipeError("the recipe has too many lengths")
        if type(self.steps) is not int or not 1 <= self.steps <= MAX_STEPS:
            raise RecipeError(f"the steps of a recipe lie between 1 and {MAX_STEPS}")
        if type(self.rate) is not int or not 0 <= self.rate <= 255:
            raise RecipeError("the rate of a recipe lies between 0 and 255")
        if self.version not in VERSIONS or (self.version == 2 and self.rate):
            raise RecipeError("there is no such version of a recipe")

    @property
    def batch_key(self) -> tuple[str, str, str, int, int]:
        """What two recipes must share to be computed in one batch."""
        return (self.model, self.scheme, self.solver, self.steps, self.version)

    @property
    def associated_data(self) -> bytes:
        """All that the recipe says, its version included, in the one way to say it: what an AEAD can bind."""
        return self.to_text().encode("ascii")

    def to_text(self) -> str:
        """Compact ASCII text; `from_text` gives the same recipe back. A `sealed` one has less than 300 characters where
        the disguise prompt is of 60 ASCII characters.
        """
        written = {short: getattr(self, name) for short, name in _KEYS.items() if self._writes(name)}
        for short in set(written) & set(_BINARY):
            written[short] = base64.b64encode(written[short]).decode("ascii")
        data = json.dumps(written, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        return f"ddsr{self.version}." + base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")

    def _writes(self, name: str) -> bool:
        return name != "rate" if self.version == 2 else getattr(self, name) != _DEFAULTS.get(name)

    @classmethod
    def from_text(cls, text: str) -> "Recipe":
        """Read `to_text`'s form.

        Raises:
            RecipeMismatch: the text is a recipe of another version.
            RecipeError: it is not a recipe, or a damaged one.
        """
        if len(text) > MAX_TEXT:
            raise RecipeError(f"the recipe has more than {MAX_TEXT} characters")
        start = _START.match(text)
        if start is None:
            raise RecipeError(f"a recipe starts with '{PREFIX}'")
        if start[1] not in map(str, VERSIONS):
            raise RecipeMismatch(f"this program reads recipes of the versions {VERSIONS[0]} and {VERSIONS[1]} only")
        return cls._of(_decode(text[start.end() :]), int(start[1]), text)

    @classmethod
    def _of(cls, found: dict[str, Any], version: int, text: str) -> "Recipe":
        if not found.keys() <= _KEYS.keys() or (version == 2 and found.keys() != _KEYS.keys() - {"r"}):
            raise RecipeError("the recipe lacks a field or has one too many")
        try:
            binary = {short: base64.b64decode(found[short], validate=True) for short in set(found) & set(_BINARY)}
            recipe = cls(**{_KEYS[short]: value for short, value in {**found, **binary}.items()}, version=version)
        except (TypeError, ValueError):  # a field is missing or of another type
            raise RecipeError("the recipe is damaged") from None
        if version > 2 and recipe.to_text() != text:
            raise RecipeError("the recipe is damaged")
        return recipe


_DEFAULTS = {field.name: field.default for field in fields(Recipe)}


def clean_recipe(text: str) -> str:
    """A recipe's text as people and programs hand it on, without the header's name before it and without white space,
    a mark or quotes around or inside it.
    """
    return _HEADER.sub("", "".join(text.split()).strip("\ufeff\"'"), count=1)


def _decode(body: str) -> dict[str, Any]:
    try:
        data = base64.b64decode(body.encode("ascii") + b"=" * (-len(body) % 4), altchars=b"-_", validate=True)
        fields = json.loads(data)
    except (UnicodeError, binascii.Error, ValueError, RecursionError):
        raise RecipeError("the recipe is damaged") from None
    if not isinstance(fields, dict):
        raise RecipeError("the recipe is damaged")
    return fields
