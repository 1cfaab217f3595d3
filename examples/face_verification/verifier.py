"""What both interfaces share: the fields of a request, the faces of a picture or of a stego, and refusals."""

import io
import logging
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.types import Message

from ddsr_client import AsyncClient, ClientError, InvalidInput, JobProblem, NotAuthentic, Picture, Problem
from examples.face_verification.recogniser import NoPicture, Recogniser, Seen
from examples.face_verification.register import Enrolled

_LOG = logging.getLogger("verification")
MOST_BYTES = 8 * 1024 * 1024
_RECIPE = re.compile(r"ddsr[0-9]+\.")  # how the text begins that a sender writes into a stego
# The codes that stand beside messages in CompreFace's answers.
UNDEFINED, UNKNOWN_KEY, NOT_ENROLLED, NO_KEY, INVALID, NO_FACE, MANY_FACES, MISSING, NOT_NOW = (
    0,
    10,
    11,
    20,
    26,
    28,
    31,
    33,
    41,
)


class Refused(Exception):
    """An answer of 4xx or 503. The text is for the caller."""

    def __init__(self, status: int, code: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


@dataclass(frozen=True)
class Looked:
    """What a picture showed: its faces, the largest first, at least one.

    `authentic`: True where it was a stego of the scheme `sealed`, and the face is the one that was hidden. None where
    nothing can tell: of a photograph, and of the other schemes.
    """

    faces: list[Seen]
    authentic: bool | None = None


@dataclass
class Verifier:
    """Recovers and looks. `client` speaks with the receiver only."""

    client: AsyncClient
    recogniser: Recogniser
    people: Mapping[str, Enrolled]
    threshold: float

    def enrolled(self, subject: str) -> Enrolled:
        """Raises Refused: nobody of this name."""
        person = self.people.get(subject)
        if person is None:
            raise Refused(404, NOT_ENROLLED, "nobody of this name is enrolled")
        return person

    async def look(self, picture: bytes, name: str, subject: str | None) -> Looked:
        """The faces of a photograph, or of what a stego hides; that is told by its recipe.

        Args:
            picture: PNG, JPEG or WebP.
            name: of its field, for refusals.
            subject: under whose identity prompt a stego hides its face.

        Raises:
            Refused: no picture, a stego without a subject, one that does not open, no face, or no receiver.
        """
        started, authentic = time.perf_counter(), None
        try:
            if await run_in_threadpool(is_stego, picture):
                if subject is None:
                    raise Refused(400, MISSING, f"{name} is a stego: `subject` must say whose identity prompt opens it")
                recovered = await self._recover(picture, self.enrolled(subject))
                picture, authentic = recovered.data, recovered.authentic
            found = await run_in_threadpool(self.recogniser.faces, picture)
        except NoPicture:
            raise Refused(400, INVALID, f"{name} is no PNG, JPEG or WebP picture") from None
        _LOG.info("looked in %.1f s", time.perf_counter() - started)
        if not found:
            raise Refused(400, NO_FACE, "No face is found in the given image")
        return Looked(found, authentic)

    async def _recover(self, stego: bytes, person: Enrolled) -> Picture:
        try:
            job = await self.client.submit_recover(stego, person.identity_prompt)
            try:
                return await job.result()
            finally:
                with suppress(ClientError):
                    await job.cancel()  # the sealed face leaves the queue's store now, not in a minute
        except NotAuthentic:
            raise Refused(
                400, NO_FACE, "No face: the stego was hidden under another identity prompt, or was changed"
            ) from None
        except InvalidInput as problem:
            raise Refused(400, INVALID, f"the picture cannot be used: {problem.title}") from None
        except ClientError as error:
            _LOG.warning("the receiver: %s", error)
            wait = error.retry_after if isinstance(error, Problem) and not isinstance(error, JobProblem) else None
            raise Refused(503, NOT_NOW, "the face cannot be recovered now", wait) from None


def is_stego(picture: bytes) -> bool:
    """Whether a picture file carries a recipe. Raises NoPicture."""
    try:
        with Image.open(io.BytesIO(picture), formats=("PNG", "JPEG", "WEBP")) as image:
            image.load()  # of PNG, text may follow the pixels
            found = image.info.get("ddsr-recipe") or image.info.get("comment") or image.getexif().get(0x010E)
    except Exception:
        raise NoPicture("the picture cannot be decoded") from None
    text = found.decode("ascii", "replace") if isinstance(found, bytes) else str(found)
    return _RECIPE.match(text) is not None


async def fields_of(request: Request) -> dict[str, Any]:
    """The fields of a form, files as bytes, or of a JSON object. Raises Refused: also for more than MOST_BYTES."""
    request = _counted(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            found = await request.json()
            if isinstance(found, dict):
                return found
        elif kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
            async with request.form(max_files=4, max_part_size=MOST_BYTES) as form:
                parts = form.items()
                return {name: await one.read() if isinstance(one, UploadFile) else one for name, one in parts}
    except (ValueError, MultiPartException):
        pass
    raise Refused(400, INVALID, "send a well-formed form, multipart/form-data, or a JSON object")


def _counted(request: Request) -> Request:
    total = 0

    async def receive() -> Message:
        nonlocal total
        message = await request.receive()
        total += len(message.get("body", b""))
        if total > MOST_BYTES:
            raise Refused(413, UNDEFINED, f"the request has more than {MOST_BYTES} bytes")
        return message

    return Request(request.scope, receive)
