"""The answers, in the shapes of CompreFace (`POST /api/v1/verification/verify`) and DeepFace (`POST /verify`).

What those services do not say stands beside what they do: `verified`, `distance` and `threshold` in CompreFace's.
"""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from examples.face_verification.recogniser import METRIC, MODEL, Seen, similarity


class Box(BaseModel):
    """Of a face, in pixels of the recovered picture. `probability` is the detector's score, squeezed into 0..1."""

    probability: float
    x_max: int
    y_max: int
    x_min: int
    y_min: int

    @classmethod
    def of(cls, seen: Seen) -> Self:
        left, top, right, bottom = seen.box
        sure = max(0.0, min(1.0, 0.5 + seen.score / 2))
        return cls(probability=sure, x_min=left, y_min=top, x_max=right, y_max=bottom)


class SourceFace(BaseModel):
    """The face that came hidden in the picture."""

    box: Box


class FaceMatch(BaseModel):
    """The enrolled face that it was compared with."""

    box: Box
    similarity: float = Field(description="0..1; one half at the threshold")
    subject: str
    verified: bool
    distance: float
    threshold: float


class CompreFaceResult(BaseModel):
    """One pair. Without a face in the recovered picture, the first is null and the second empty."""

    source_image_face: SourceFace | None
    face_matches: list[FaceMatch]


class CompreFaceAnswer(BaseModel):
    """`{"result": [...]}` as CompreFace gives it."""

    result: list[CompreFaceResult]


class Area(BaseModel):
    """A face as DeepFace gives it."""

    x: int
    y: int
    w: int
    h: int

    @classmethod
    def of(cls, seen: Seen) -> Self:
        left, top, right, bottom = seen.box
        return cls(x=left, y=top, w=right - left, h=bottom - top)


class Areas(BaseModel):
    """`img1` came hidden, `img2` is enrolled."""

    img1: Area | None
    img2: Area


class DeepFaceAnswer(BaseModel):
    """As DeepFace gives it. `distance` is null where the recovered picture shows no face."""

    verified: bool
    distance: float | None
    threshold: float
    model: str = MODEL
    detector_backend: str = "dlib"
    similarity_metric: str = METRIC
    facial_areas: Areas
    time: float = Field(description="seconds")


class DeepFaceRequest(BaseModel):
    """`img1`: the stego, base64, with or without `data:image/png;base64,`. `subject` instead of `img2`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    img1: SecretStr
    subject: str


def match(subject: str, found: Seen, enrolled: Seen, distance: float, threshold: float) -> CompreFaceResult:
    """CompreFace's answer for a face."""
    one = FaceMatch(
        box=Box.of(enrolled),
        similarity=similarity(distance, threshold),
        subject=subject,
        verified=distance <= threshold,
        distance=distance,
        threshold=threshold,
    )
    return CompreFaceResult(source_image_face=SourceFace(box=Box.of(found)), face_matches=[one])
