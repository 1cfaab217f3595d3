"""The recipe: the public parameters of one hiding, as compact text.

The receiver needs them besides the stego and the identity prompt. They are public: the disguise prompt describes what
the stego shows anyway, and the nonce is no secret. The text form is

    ddsr2.<base64url of canonical JSON, no padding>

ASCII without spaces, so that it fits an HTTP header and a PNG text chunk. The leading number is the version of the
text form and of the method; a reader refuses every version but its own.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from shared.errors import RecipeError, RecipeMismatch

VERSION = 2  # 1: mixing by matrices written out, to November 2026
PREFIX = f"ddsr{VERSION}."
NONCE_BYTES = 16
MAX_LENGTHS = 1024  # bytes
MAX_TEXT = 4096  # characters; longer input is refused before it is decoded
_KEYS = {
    "d": "disguise_prompt", "k": "steps", "l": "lengths", "m": "model", "n": "nonce", "s": "scheme", "v": "solver",
}  # fmt: skip
_BINARY = ("l", "n")


@dataclass(frozen=True)
class Recipe:
    """Public parameters of one hiding.

    Attributes:
        model: fingerprint of the model, 16 lower-case hex digits.
        scheme: name of the scheme (`shared.diffusion.pipeline.SCHEMES`).
        solver: name of the solver (`shared.diffusion.solvers.SOLVERS`).
        steps: diffusion steps of one pass, 1..1000.
        disguise_prompt: the public prompt under which the stego was drawn, 1..256 characters.
        nonce: 16 bytes, fresh for every hiding; never used twice under one identity prompt.
        lengths: of scheme `keyed`, the masked lengths of the latent's groups (`shared.diffusion.keying`), 0..1024
            bytes; without the key they are random.
    """

    model: str
    scheme: str
    solver: str
    steps: int
    disguise_prompt: str
    nonce: bytes
    lengths: bytes = b""

    def __post_init__(self) -> None:
        texts = (self.model, self.scheme, self.solver, self.disguise_prompt)
        if not all(isinstance(text, str) and 0 < len(text) <= 256 for text in texts):
            raise RecipeError("a text field of the recipe is missing, empty or too long")
        if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
            raise RecipeError("a text field of the recipe is no Unicode")  # JSON's escapes can write half a character
        if len(self.nonce) != NONCE_BYTES:
            raise RecipeError(f"the nonce of a recipe has {NONCE_BYTES} bytes")
        if len(self.lengths) > MAX_LENGTHS:
            raise RecipeError("the recipe has too many lengths")
        if type(self.steps) is not int or not 1 <= self.steps <= 1000:
            raise RecipeError("the steps of a recipe lie between 1 and 1000")

    @property
    def batch_key(self) -> tuple[str, str, str, int]:
        """What two recipes must share to be computed in one batch."""
        return (self.model, self.scheme, self.solver, self.steps)

    def to_text(self) -> str:
        """Compact ASCII text; `from_text` gives the same recipe back."""
        fields: dict[str, Any] = {short: getattr(self, name) for short, name in _KEYS.items()}
        for short in _BINARY:
            fields[short] = base64.b64encode(fields[short]).decode("ascii")
        data = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        return PREFIX + base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> "Recipe":
        """Read `to_text`'s form.

        Raises:
            RecipeMismatch: the text is a recipe of another version.
            RecipeError: it is not a recipe, or a damaged one.
        """
        if len(text) > MAX_TEXT:
            raise RecipeError("the recipe is too long")
        if not text.startswith(PREFIX):
            if text.startswith("ddsr") and text[4:5].isdigit():
                raise RecipeMismatch(f"this program reads recipes of version {VERSION} only")
            raise RecipeError(f"a recipe starts with '{PREFIX}'")
        fields = _decode(text[len(PREFIX) :])
        if set(fields) != set(_KEYS):
            raise RecipeError("the recipe lacks a field or has one too many")
        try:
            for short in _BINARY:
                fields[short] = base64.b64decode(fields[short], validate=True)
        except (TypeError, ValueError):
            raise RecipeError("the recipe is damaged") from None
        return cls(**{name: fields[short] for short, name in _KEYS.items()})


def _decode(body: str) -> dict[str, Any]:
    try:
        data = base64.b64decode(body.encode("ascii") + b"=" * (-len(body) % 4), altchars=b"-_", validate=True)
        fields = json.loads(data)
    except (UnicodeError, binascii.Error, ValueError, RecursionError):
        raise RecipeError("the recipe is damaged") from None
    if not isinstance(fields, dict):
        raise RecipeError("the recipe is damaged")
    return fields
