"""The form of a submission, `multipart/form-data` (RFC 7578), read so that nothing in it is guessed or dropped.

Starlette's parser reads undecodable text as Latin-1, gives the last of two fields of one name, and takes a file for
text where its name is missing. Each would end in a stranger's picture, or in an error that helps nobody.
"""

import codecs
import re
from collections import Counter
from collections.abc import AsyncGenerator, Collection

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from services.common.problems import UNKNOWN_FIELD, BadRequest, InvalidRequest, Issue

MAX_PARTS = 16  # with a file, and as many without
_CHARSET = re.compile(
    r"ascii|utf-(8|16|32).*|iso8859-\d+|cp\d+|koi8-.*|mac-.*|gb.*|big5.*|shift_jis.*|euc_.*|johab|tis-620"
)
_PLAIN = ("7bit", "8bit", "binary")


class FormRequest(Request):
    """A request whose form has been read."""

    def __init__(self, request: Request, form: FormData) -> None:
        super().__init__(request.scope, request.receive)
        self._form = form


async def read_form(request: Request, fields: Collection[str], files: Collection[str], longest: int) -> FormData:
    """Read the body. `fields` are the names of the form, `files` those of its files, `longest` the bytes of a text.

    Raises:
        BadRequest: it is no well-formed form, or one of its texts is too long.
        InvalidRequest: a field is there twice, or a text cannot be read as what it claims to be.
    """
    parser = _Parser(request.headers, request.stream(), fields, files, longest)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise BadRequest(f"the body is no well-formed form: {error.message}") from None
    except ClientDisconnect:
        raise BadRequest("the body ended before its time") from None
    counts = Counter(name for name, _ in form.multi_items())
    for name in (name for name, count in counts.items() if count > 1):
        parser.note(name, "repeated")
    if issues := parser.issues:
        await form.close()
        raise InvalidRequest("; ".join(_words(issue) for issue in issues), issues=issues)
    return form


class _Parser(MultiPartParser):
    def __init__(
        self,
        headers: Headers,
        stream: AsyncGenerator[bytes, None],
        fields: Collection[str],
        files: Collection[str],
        longest: int,
    ) -> None:
        super().__init__(headers, stream, max_files=MAX_PARTS, max_fields=MAX_PARTS, max_part_size=longest)
        self.issues: list[Issue] = []
        self._texts, self._files = set(fields) - set(files), files
        self._claimed = _charset(headers.get("content-type", "").encode("latin-1"))

    def on_headers_finished(self) -> None:
        """A part of a file's name is a file, whether it has a file name or not; one of a text's name is a text."""
        part = self._current_part
        self._charset = "utf-8"  # of the names; what the whole body claims goes for texts alone
        _, options = parse_options_header(part.content_disposition)
        if b"filename" not in options and options.get(b"name", b"").decode("latin-1") in self._files:
            part.content_disposition = (part.content_disposition or b"") + b'; filename="unnamed"'
        super().on_headers_finished()
        if part.file is not None and part.field_name in self._texts:
            part.file.file.close()
            part.file = None
        headers = dict(part.item_headers)
        if headers.get(b"content-transfer-encoding", b"8bit").strip().lower().decode("latin-1") not in _PLAIN:
            self.note(part.field_name, "transfer_encoding")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._current_part
        if part.file is None and len(part.data) + end - start > self.max_part_size:
            name = f"the field {part.field_name}" if part.field_name in self._texts else "a text field"
            raise BadRequest(f"{name} has more than {self.max_part_size} bytes; shorten it")
        super().on_part_data(data, start, end)

    def on_part_end(self) -> None:
        part = self._current_part
        if part.file is not None:
            super().on_part_end()
            return
        text = decoded(bytes(part.data), _charset(dict(part.item_headers).get(b"content-type", b"")) or self._claimed)
        if text is None:
            self.note(part.field_name, "not_utf_8")
        self.items.append((part.field_name, text or ""))

    def note(self, name: str, kind: str) -> None:
        """A field breaks a rule."""
        known = name in self._texts or name in self._files
        self.issues.append(Issue(loc=["body", name if known else UNKNOWN_FIELD], type=kind))


def decoded(data: bytes, claimed: str | None) -> str | None:
    """The text of bytes that are UTF-8, or of the charset that they claim; None where it is neither, or in doubt: where
    both can be read and differ. UTF-16 read as UTF-8 is full of control characters and leaves no doubt.
    """
    plain, other = _read(data, "utf-8"), _read(data, claimed) if claimed else None
    if plain is None or other is None or plain == other:
        return other if plain is None else plain
    return other if re.search("[\0-\x08\x0e-\x1f]", plain) else None


def _read(data: bytes, charset: str) -> str | None:
    try:
        return data.decode(charset)
    except ValueError:
        return None


def _charset(content_type: bytes) -> str | None:
    """Python's name of the charset that a media type claims; None where it claims none, or none that texts come in."""
    claim = parse_options_header(content_type)[1].get(b"charset", b"")
    try:
        name = codecs.lookup(claim.decode("ascii")).name
    except (LookupError, ValueError):
        return None
    return name if _CHARSET.fullmatch(name) else None


def _words(issue: Issue) -> str:
    return f"{issue.loc[-1]} {_WORDS[issue.type]}"


_WORDS = {
    "repeated": "is there more than once; send it once",
    "not_utf_8": "is no UTF-8, nor of the charset that it claims; send UTF-8",
    "transfer_encoding": "has a transfer encoding; send it as it is",
}
