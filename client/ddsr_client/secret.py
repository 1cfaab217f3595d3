"""A secret text that shows itself to nobody but to who asks for it by name."""

import hmac
import os
from pathlib import Path
from typing import Final, NoReturn

_HIDDEN: Final = "Secret('**********')"


class Secret:
    """An identity prompt or an API key: stars in `repr`, `str` and a traceback's locals, and no pickling."""

    __slots__ = ("_value",)

    def __init__(self, value: "str | Secret") -> None:
        self._value = value.reveal() if isinstance(value, Secret) else value

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "Secret":
        """The text of a file in UTF-8, with a byte-order mark or without, less the line end at its end.

        Raises:
            OSError: it cannot be read. UnicodeError: it is no UTF-8; the error does not hold the text.
        """
        try:
            return cls(Path(path).read_text(encoding="utf-8-sig").removesuffix("\n"))
        except UnicodeDecodeError:
            raise UnicodeError("the file is no UTF-8 text") from None

    @classmethod
    def from_environment(cls, name: str) -> "Secret":
        """The value of an environment variable; KeyError when it is not set."""
        return cls(os.environ[name])

    def reveal(self) -> str:
        """The text itself."""
        return self._value

    def __repr__(self) -> str:
        return _HIDDEN

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a hash can be guessed

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied to another process")
