"""What is fuzzed. A target takes any bytes; whatever it raises is a find.

The tests run every target over the corpus and over hypothesis' examples, atheris over what it breeds from the corpus. A
file that made a target fail goes into the corpus, and so stays a test.
"""

import base64
import json
from collections.abc import Callable, Mapping

import numpy as np

from shared import envelope
from shared.diffusion.codecs import SIZES, decode_face
from shared.diffusion.payload import unseal
from shared.errors import BrokenPicture, DdsrError, EnvelopeError, NotAuthentic, RecipeError, RecipeMismatch
from shared.imaging import MAX_PIXELS, MEDIA_TYPES, decode_upload, encode_picture, fit_square
from shared.jobs.codec import pack, unpack
from shared.jobs.model import (
    KINDS,
    HideRequest,
    JobResult,
    RecoverRequest,
    announced,
    unpack_request,
)
from shared.recipe import PREFIX, Recipe
from shared.recipe_files import recipes_in

MOST_PIXELS = 200_000  # a fuzzer wants many small pictures; the limit itself has tests
STARTS = {b"j": PREFIX, b"o": "ddsr2."}
CONTEXT = "ddsr/v1|hide|0123"
KEYS = envelope.Keyring([envelope.PrivateKey(bytes(range(32)))])


def recipe(data: bytes) -> None:
    """A recipe is read or refused; what was read is text again, fits a header and a queue's record.

    The first byte says whether the rest is a recipe's text or the JSON inside one, of which version: a fuzzer does not
    guess base64.
    """
    inside = data[1:]
    text = inside.decode("latin-1")
    if data[:1] in STARTS:
        text = STARTS[data[:1]] + base64.urlsafe_b64encode(inside).rstrip(b"=").decode()
    try:
        found = Recipe.from_text(text)
    except (RecipeError, RecipeMismatch):
        return
    again = found.to_text()
    assert Recipe.from_text(again) == found
    assert again.isascii()
    assert again.isprintable()
    "|".join(map(str, found.batch_key)).encode()


def picture(data: bytes) -> None:
    """An upload is decoded or refused; what was decoded is what the rest relies on."""
    assert all(text.isascii() for text in recipes_in(data))
    try:
        rgb = decode_upload(data, max_pixels=MOST_PIXELS)
    except DdsrError:
        return
    assert rgb.dtype == np.uint8
    assert rgb.ndim == 3
    assert rgb.shape[2] == 3
    assert rgb.shape[0] * rgb.shape[1] <= MOST_PIXELS < MAX_PIXELS
    square = fit_square(rgb, 32)
    assert square.shape == (32, 32, 3)
    np.testing.assert_array_equal(decode_upload(encode_picture(square, "png")), square)


def sealed(data: bytes) -> None:
    """An envelope opens only when it was sealed for this key and context; nobody fuzzes his way to that."""
    try:
        assert KEYS.open(data, CONTEXT) is not None
    except EnvelopeError:
        return


def message(data: bytes) -> None:
    """The inside of an envelope and a worker's announcement: sealing shows nothing of who sealed.

    The first byte says what the rest is: packed bytes, or the JSON of a head (with a blob behind a zero byte).
    """
    body = data[1:]
    info = announced(body)
    assert info is None or info.image_size > 0
    if data[:1] == b"j":
        text, _, blob = body.partition(b"\0")
        try:
            body = pack(json.loads(text), blob)
        except (ValueError, RecursionError):
            return
    for kind in KINDS:
        try:
            request, reply, _ = unpack_request(kind, body)
        except EnvelopeError:
            continue
        _check_request(request, reply)
    try:
        result = JobResult.unpack(body)
    except EnvelopeError:
        return
    assert result.media_type in MEDIA_TYPES.values()
    assert unpack(result.pack())[1] == result.picture


def _check_request(request: HideRequest | RecoverRequest, reply: str) -> None:
    """What was taken can be computed with, packed again, and answered: or the refusal is a coded error."""
    assert request.picture.to_array().shape == (request.picture.height, request.picture.width, 3)
    assert request.identity_prompt.get_secret_value() is not None
    assert unpack_request("hide" if isinstance(request, HideRequest) else "recover", request.pack(reply))[1] == reply
    try:
        request.batch.encode("utf-8", "replace")
        envelope.seal(b"answer", [envelope.PublicKey.from_text(reply)], CONTEXT)
    except DdsrError:
        return


def face_code(data: bytes) -> None:
    """The code of a face is read or refused."""
    try:
        face = decode_face(data)
    except BrokenPicture:
        return
    assert face.dtype == np.uint8
    assert face.shape in [(size, size, 3) for size in SIZES]


def payload(data: bytes) -> None:
    """The payload of scheme `sealed` opens for its key and recipe only."""
    try:
        assert unseal(data, bytes(32), b"") is not None
    except NotAuthentic:
        return


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "recipe": recipe,
    "picture": picture,
    "sealed": sealed,
    "message": message,
    "face-code": face_code,
    "payload": payload,
}
