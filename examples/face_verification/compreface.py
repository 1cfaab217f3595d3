"""CompreFace's interface, as far as verification goes: requests, answers and errors have its shapes.

Source: docs/Rest-API-description.md of github.com/exadel-inc/CompreFace. Of its face plugins, `calculator` is here; an
answer lacks the fields of the others, as that of a CompreFace that runs without them.
"""

import base64
import binascii
import time
from collections.abc import Mapping
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from examples.face_verification.recogniser import Seen, distance, similarity
from examples.face_verification.register import image_id
from examples.face_verification.verifier import (
    INVALID,
    MANY_FACES,
    MISSING,
    NO_FACE,
    NOT_ENROLLED,
    Looked,
    Refused,
    Verifier,
    fields_of,
)

PREFIX = "/api/v1"
VERSIONS = {"detector": "dlib.get_frontal_face_detector", "calculator": "dlib.face_recognition_model_v1"}
router = APIRouter(prefix=PREFIX)


class Options(BaseModel):
    """Of the query. `subject` is ours: under whose identity prompt a stego hides its face."""

    limit: int = Field(default=0, ge=0)
    det_prob_threshold: float = Field(default=0.0, ge=0, le=1)
    face_plugins: str = ""
    status: bool = False
    subject: str | None = None

    def chosen(self, looked: Looked) -> Looked:
        """At most `limit` faces (0: all) that are faces with `det_prob_threshold`. Raises Refused: none."""
        sure = [face for face in looked.faces if face.probability >= self.det_prob_threshold]
        if not sure:
            raise Refused(400, NO_FACE, "No face is found in the given image")
        return Looked(sure[: self.limit or None], looked.authentic)


class Box(BaseModel):
    """Of a face, in pixels of the picture, or of the recovered one. `probability` is the detector's."""

    probability: float
    x_max: int
    y_max: int
    x_min: int
    y_min: int


class Face(BaseModel):
    """A face. `execution_time` has milliseconds by plugin.

    `authentic` is ours: true where the face was in a stego of the scheme `sealed`, and is the one that was hidden.
    """

    box: Box
    authentic: bool | None = None
    embedding: list[float] | None = None
    execution_time: dict[str, float] | None = None

    @classmethod
    def of(cls, seen: Seen, authentic: bool | None, options: Options, seconds: float, **more: Any) -> Self:
        left, top, right, bottom = seen.box
        return cls(
            box=Box(probability=round(seen.probability, 5), x_min=left, y_min=top, x_max=right, y_max=bottom),
            embedding=seen.vector.tolist() if "calculator" in options.face_plugins.split(",") else None,
            execution_time={"detector": round(seconds * 1000, 1)} if options.status else None,
            authentic=authentic,
            **more,
        )


class Match(Face):
    """`similarity`: 0..1; one half at the threshold."""

    similarity: float


class Pair(BaseModel):
    """The face of the source image, and every face of the target image."""

    source_image_face: Face
    face_matches: list[Match]
    plugins_versions: dict[str, str] | None = None


class Pairs(BaseModel):
    """Of `/verification/verify`."""

    result: list[Pair]


class Matches(BaseModel):
    """Of `/recognition/faces/{image_id}/verify`."""

    result: list[Match]
    plugins_versions: dict[str, str] | None = None


class Example(BaseModel):
    """The photograph of somebody enrolled."""

    image_id: str
    subject: str


class Examples(BaseModel):
    """A page of them."""

    faces: list[Example]
    page_number: int
    page_size: int
    total_pages: int
    total_elements: int


Given = Annotated[Options, Query()]


@router.post("/verification/verify", response_model_exclude_none=True)
async def verify(request: Request, options: Given) -> Pairs:
    """Whether two pictures of the caller's show one person. That says nothing of who is enrolled here."""
    verifier: Verifier = request.app.state.verifier
    fields, started = await fields_of(request), time.perf_counter()
    source, target = (_picture(fields, name) for name in ("source_image", "target_image"))
    first = options.chosen(await verifier.look(source, "source_image", options.subject))
    if len(first.faces) > 1:
        raise Refused(400, MANY_FACES, "Found more than one face in the source image")
    middle = time.perf_counter()
    others = options.chosen(await verifier.look(target, "target_image", options.subject))
    face = first.faces[0]
    pair = Pair(
        source_image_face=Face.of(face, first.authentic, options, middle - started),
        face_matches=_matches(face, others, options, verifier.threshold, time.perf_counter() - middle),
        plugins_versions=VERSIONS if options.status else None,
    )
    return Pairs(result=[pair])


@router.post("/recognition/faces/{face_id}/verify", response_model_exclude_none=True)
async def verify_enrolled(request: Request, face_id: str, options: Given) -> Matches:
    """The faces of `file`, compared with that of somebody enrolled, under whose identity prompt a stego is opened."""
    verifier: Verifier = request.app.state.verifier
    subject = next((name for name in verifier.people if image_id(name) == face_id), None)
    if subject is None:
        raise Refused(404, NOT_ENROLLED, f"Image {face_id} not found" if len(face_id) == 36 else "Image not found")
    started = time.perf_counter()
    looked = await verifier.look(_picture(await fields_of(request), "file"), "file", subject)
    seconds = time.perf_counter() - started
    enrolled = verifier.enrolled(subject).face
    found = _matches(enrolled, options.chosen(looked), options, verifier.threshold, seconds)
    return Matches(result=found, plugins_versions=VERSIONS if options.status else None)


@router.get("/recognition/faces")
async def examples(
    request: Request,
    page: Annotated[int, Query(ge=0)] = 0,
    size: Annotated[int, Query(ge=1)] = 20,
    subject: str | None = None,
) -> Examples:
    """Who is enrolled."""
    verifier: Verifier = request.app.state.verifier
    names = [name for name in sorted(verifier.people) if subject in (None, name)]
    shown = [Example(image_id=image_id(name), subject=name) for name in names[page * size : (page + 1) * size]]
    pages = -(-len(names) // size)
    return Examples(faces=shown, page_number=page, page_size=size, total_pages=pages, total_elements=len(names))


def _picture(fields: Mapping[str, Any], name: str) -> bytes:
    """A file of a form, or base64 in JSON. Raises Refused."""
    given = fields.get(name)
    if not given:
        raise Refused(400, MISSING, f"Required part '{name}' is not present")
    if isinstance(given, bytes):
        return given
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise Refused(400, INVALID, f"{name} is not base64") from None


def _matches(face: Seen, others: Looked, options: Options, threshold: float, seconds: float) -> list[Match]:
    near = [round(similarity(distance(face, other), threshold), 5) for other in others.faces]
    pairs = zip(others.faces, near, strict=True)
    return [Match.of(one, others.authentic, options, seconds, similarity=how) for one, how in pairs]
