"""DeepFace's interface: `/verify` and `/represent` with dlib's model and detector; `/analyze` is refused.

Source: deepface/api/src/modules/core/routes.py of github.com/serengil/deepface. What a request asks for and this
backend has not is refused by its name, never left out: another model's vector or threshold would be a wrong answer.
"""

import base64
import binascii
import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request

from examples.face_verification.recogniser import METRIC, MODEL, THRESHOLDS, Seen, distance
from examples.face_verification.verifier import INVALID, MISSING, Refused, Verifier, fields_of

PATHS = ("/verify", "/represent", "/analyze")
DETECTOR = "dlib"
# What each option may say here, in lower case; the first is what its absence means.
_OFFERED = {
    "model_name": (MODEL.lower(),),
    "detector_backend": (DETECTOR,),
    "distance_metric": (METRIC, *(name for name in THRESHOLDS if name != METRIC)),
    "enforce_detection": ("true",),
    "align": ("true",),
    "anti_spoofing": ("false",),
    "normalization": ("base",),
    "expand_percentage": ("0",),
}
router = APIRouter()


@router.post("/verify")
async def verify(request: Request) -> dict[str, Any]:
    """`img1` and `img2`; with `subject` and without `img2`, the enrolled face stands in its place.

    `subject` is ours: it says under whose identity prompt a stego hides its face. So is `authentic`, of pictures that
    were stegos of the scheme `sealed`: the face is the one that was hidden.
    """
    verifier: Verifier = request.app.state.verifier
    fields, started = await fields_of(request), time.perf_counter()
    metric, subject = _options(fields)["distance_metric"], _subject(fields)
    threshold = _number(fields, "threshold", verifier.threshold if metric == METRIC else THRESHOLDS[metric])
    looked = {"img1": await verifier.look(_picture(fields, "img1"), "img1", subject)}
    if subject is not None and not fields.get("img2"):
        second = verifier.enrolled(subject).face
    else:
        looked["img2"] = await verifier.look(_picture(fields, "img2"), "img2", subject)
        second = looked["img2"].faces[0]
    first = looked["img1"].faces[0]
    apart = distance(first, second, metric)
    authentic = {name: one.authentic for name, one in looked.items() if one.authentic is not None}
    return {
        "verified": apart <= threshold,
        "distance": apart,
        "threshold": threshold,
        "model": MODEL,
        "detector_backend": DETECTOR,
        "similarity_metric": metric,
        "facial_areas": {"img1": _area(first), "img2": _area(second)},
        "time": round(time.perf_counter() - started, 2),
        **({"authentic": authentic} if authentic else {}),
    }


@router.post("/represent")
async def represent(request: Request) -> dict[str, Any]:
    """The vectors of all faces in `img`, or of the `max_faces` largest."""
    verifier: Verifier = request.app.state.verifier
    fields = await fields_of(request)
    _options(fields)
    most = int(_number(fields, "max_faces", 0)) or None
    looked = await verifier.look(_picture(fields, "img"), "img", _subject(fields))
    return {"results": [_represented(face, looked.authentic) for face in looked.faces[:most]]}


@router.post("/analyze")
async def analyze() -> None:
    """Age, sex, emotion and ethnicity are no part of a verification."""
    raise Refused(400, INVALID, "Exception while analyzing: this backend only verifies; it has no such models")


def _represented(seen: Seen, authentic: bool | None) -> dict[str, Any]:
    ours = {} if authentic is None else {"authentic": authentic}
    theirs = {"embedding": seen.vector.tolist(), "facial_area": _area(seen), "face_confidence": seen.probability}
    return theirs | ours


def _area(seen: Seen) -> dict[str, Any]:
    left, top, right, bottom = seen.box
    eyes = {"left_eye": seen.eyes[0], "right_eye": seen.eyes[1]}
    return {"x": left, "y": top, "w": right - left, "h": bottom - top, **eyes}


def _options(fields: Mapping[str, Any]) -> dict[str, str]:
    """Each option as it is followed. Raises Refused: it names one that is not here."""
    found = {}
    for name, offered in _OFFERED.items():
        given = fields.get(name)
        found[name] = offered[0] if given is None else str(given).lower()
        if found[name] not in offered:
            raise Refused(400, INVALID, f"{name}: this backend offers {', '.join(offered)}")
    return found


def _subject(fields: Mapping[str, Any]) -> str | None:
    subject = fields.get("subject")
    return None if subject is None else str(subject)


def _number(fields: Mapping[str, Any], name: str, default: float) -> float:
    try:
        return float(fields.get(name, default))
    except (TypeError, ValueError):
        raise Refused(400, INVALID, f"{name} is no number") from None


def _picture(fields: Mapping[str, Any], name: str) -> bytes:
    """An uploaded file, or `data:image/...;base64,...`. Raises Refused: also for a path or an address."""
    given = fields.get(name)
    if not given:
        raise Refused(400, MISSING, f"'{name}' not found in either json or form data request")
    if isinstance(given, bytes):
        return given
    head, comma, text = str(given).partition("base64,")
    if not comma or not head.startswith("data:image/"):
        raise Refused(400, INVALID, f"{name} is a path or an address; send a file, or data:image/png;base64,...")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(400, INVALID, f"{name} is not base64") from None
