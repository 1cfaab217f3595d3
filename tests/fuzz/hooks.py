"""Hooks of schemathesis: what a schema cannot say. Loaded by `SCHEMATHESIS_HOOKS=tests.fuzz.hooks`.

A schema cannot say which bytes are a picture, which text is a prompt and which recipe belongs to the model, so cases
that are meant to be valid get real ones, and cases that are meant to be invalid get a real picture most of the time:
then the invalid part is all that is wrong. Ids of jobs that were accepted come back in later requests.

`DDSR_FUZZ_FOLDER` names the folder with `stego.png` and `recipe.txt` of a real hiding; every exchange is noted there in
`calls.jsonl`.
"""

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import schemathesis
from PIL import Image
from schemathesis.generation import GenerationMode
from schemathesis.transport.serialization import Binary

FOLDER = Path(os.environ["DDSR_FUZZ_FOLDER"])
CANARY = "canary-5d1e"
FILES = {"POST /hide": "image", "POST /recover": "stego"}
EXAMPLE_KEY = "7c1f0b8e-6a1d-4b43-9f4e-2d2f7f0a9c11"  # of the document
MOST_STEPS = 2  # the answer is the same with more; the time is not
_JOBS: list[str] = []
_VALID: set[str] = set()  # schemathesis judges a case again after a change, and takes every body with bytes for invalid


def _picture(mode: str, form: str, size: tuple[int, int]) -> bytes:
    rgb = np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(rgb).convert(mode).save(file, form)
    return file.getvalue()


SQUARE = [_picture("RGB", form, (32, 32)) for form in ("PNG", "JPEG", "WEBP")]
FACES = [
    *SQUARE,
    _picture("RGB", "JPEG", (300, 200)),
    _picture("RGBA", "PNG", (40, 64)),
    _picture("L", "PNG", (33, 17)),
    _picture("CMYK", "JPEG", (64, 48)),
    _picture("RGBA", "WEBP", (50, 32)),
]
STEGO = (FOLDER / "stego.png").read_bytes()
RECIPE = (FOLDER / "recipe.txt").read_text()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """The same case gets the same changes: they are chosen by a digest of its own content."""
    digest = hashlib.sha256(repr((case.body, case.path_parameters, case.query)).encode()).digest()
    valid = case.meta is None or case.meta.generation.mode is GenerationMode.POSITIVE
    field = FILES.get(case.operation.label)
    if field is not None and isinstance(case.body, dict):
        if valid:
            _VALID.add(case.id)
            _make_valid(case.body, field, digest)
            if (case.headers or {}).get("idempotency-key") == EXAMPLE_KEY:
                case.headers["idempotency-key"] = digest.hex()  # the second body under one key is refused
        elif isinstance(case.body.get(field), str | bytes) and digest[0] % 4:
            case.body[field] = Binary(STEGO if field == "stego" else SQUARE[digest[1] % len(SQUARE)])
    elif valid and _JOBS and "job_id" in (case.path_parameters or {}) and digest[0] % 4:
        case.path_parameters["job_id"] = _JOBS[digest[1] % len(_JOBS)]


def _make_valid(body: dict[str, Any], field: str, digest: bytes) -> None:
    body["identity_prompt"] = f"{CANARY} {_plain(body.get('identity_prompt'))}"
    body.pop("webhook", None)  # `check_url` has tests of its own, and nobody shall be called from here
    if field == "image":
        body["disguise_prompt"] = "a " + _plain(body.get("disguise_prompt"))
        body["steps"] = 1 + digest[2] % MOST_STEPS
        for option in ("scheme", "channel", "face_size"):  # of which a schema cannot say which go together
            body.pop(option, None)
        choices = SQUARE if body.get("crop") == "none" else FACES
        body[field] = Binary(choices[digest[1] % len(choices)])
    else:
        body[field] = Binary(STEGO if digest[1] % 4 else SQUARE[0])
        if "recipe" in body or digest[1] % 4 == 0:
            body["recipe"] = RECIPE


def _plain(text: Any) -> str:
    """Printable, and of few enough bytes for the tiny model's tokenizer, whose tokens are bytes."""
    printable = "".join(character for character in str(text) if character.isprintable())
    return printable.encode("utf-8", "ignore")[:40].decode("utf-8", "ignore")


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether a failure counts. "Invalid data was accepted" does not where the data was made valid, nor where all that
    is odd is a header that nobody reads. "Valid data was refused" does not where a DELETE had dropped the result, or
    where an idempotency key had been used with another body.
    """
    if failure.code == "ST201":
        return case.id not in _VALID and "in header - object with unexpected properties" not in failure.message
    by_history = (b'"code":"job-gone"', b'"code":"idempotency-mismatch"')
    return not (failure.code == "ST202" and any(code in response.content for code in by_history))


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Note the exchange; a prompt that comes back is a failure whatever the status."""
    job = response.headers.get("ddsr-job", [None])[0]
    if job is not None and len(_JOBS) < 50 and job not in _JOBS:
        _JOBS.append(job)
    shown = response.content + repr(response.headers).encode()
    call = {
        "operation": case.operation.label,
        "valid": case.id in _VALID,
        "code": response.json().get("code") if b'"code"' in response.content[:2000] else None,
        "status": response.status_code,
        "type": response.headers.get("content-type", [""])[0],
        "job": job,
        "leak": CANARY.encode() in shown,
    }
    with open(FOLDER / "calls.jsonl", "a", encoding="utf-8") as stream:
        stream.write(json.dumps(call) + "\n")
