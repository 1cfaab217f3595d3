"""What travels between services and worker: requests, results and views of a job. No Redis here.

Requests and results become bytes only to be sealed at once (`pack`, `unpack`); their `repr` shows no content.
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import SecretStr, TypeAdapter

from shared.envelope import PublicKey
from shared.errors import DdsrError, EnvelopeError, JobCancelled, JobGone, JobNotReady, error_from_code
from shared.imaging import MEDIA_TYPES as MEDIA_TYPES
from shared.imaging import PictureFormat as PictureFormat
from shared.jobs.codec import pack, typed, unpack
from shared.limits import CHANNELS, DEFAULT_CHANNEL, DEFAULT_SCHEME, SCHEMES
from shared.recipe import Recipe
from shared.tracing import Origin

Kind = Literal["hide", "recover"]
WebhookEnd = Literal["sent", "given-up"]
WebhookState = Literal["pending"] | WebhookEnd
State = Literal["queued", "running", "done", "failed", "cancelled", "expired"]
KINDS: tuple[Kind, ...] = ("hide", "recover")
CURSOR = re.compile(r"[0-9]{16}-[0-9a-f]{32}")  # of a page of jobs
TERMINAL: frozenset[str] = frozenset({"done", "failed", "cancelled", "expired"})


@dataclass(frozen=True, repr=False)
class Picture:
    """A checked picture: `rgb` holds height x width x 3 bytes, row by row."""

    width: int
    height: int
    rgb: bytes

    @classmethod
    def from_array(cls, rgb: NDArray[np.uint8]) -> "Picture":
        """From uint8 (H, W, 3), as `shared.imaging` gives it."""
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise ValueError("a picture is uint8 of shape (H, W, 3)")
        return cls(rgb.shape[1], rgb.shape[0], np.ascontiguousarray(rgb).tobytes())

    def to_array(self) -> NDArray[np.uint8]:
        """uint8 (H, W, 3), a copy."""
        flat = np.frombuffer(self.rgb, dtype=np.uint8)
        return flat.reshape(self.height, self.width, 3).copy()


@dataclass(frozen=True, repr=False)
class HideRequest:
    """Hide a face. `solver` and `steps` of None leave the choice to the worker's model; `channel` is for `sealed`."""

    picture: Picture
    identity_prompt: SecretStr
    disguise_prompt: str
    scheme: str = DEFAULT_SCHEME
    solver: str | None = None
    steps: int | None = None
    channel: str = DEFAULT_CHANNEL
    format: PictureFormat = "png"

    @property
    def batch(self) -> str:
        """Requests of equal `batch` are computed together. Public parameters only."""
        size = _size(self.picture)
        return f"hide|{self.scheme}|{self.solver or ''}|{self.steps or ''}|{self.channel}|{size}"

    def pack(self, reply_key: str, origin: Origin | None = None) -> bytes:
        options = {name: getattr(self, name) for name in _HIDE_OPTIONS}
        return _packed(self, options, reply_key, origin)


@dataclass(frozen=True, repr=False)
class RecoverRequest:
    """Recover a face from a stego and its recipe. `decoy`: a stranger in place of `not-authentic`."""

    picture: Picture
    identity_prompt: SecretStr
    recipe: Recipe
    format: PictureFormat = "png"
    decoy: bool = False

    @property
    def batch(self) -> str:
        return "|".join(map(str, ("recover", *self.recipe.batch_key, _size(self.picture))))

    def pack(self, reply_key: str, origin: Origin | None = None) -> bytes:
        options = {"recipe": self.recipe.to_text(), "format": self.format, "decoy": self.decoy}
        return _packed(self, options, reply_key, origin)


Request = HideRequest | RecoverRequest


def _packed(request: Request, options: dict[str, Any], reply_key: str, origin: Origin | None) -> bytes:
    """Without an origin the content alone: what the fingerprint of an idempotent request is made of."""
    head = {"identity_prompt": request.identity_prompt.get_secret_value(), "reply_key": reply_key}
    head |= options | _shape(request.picture)
    return pack(head if origin is None else head | asdict(origin), request.picture.rgb)


def unpack_request(kind: Kind, data: bytes) -> tuple[Request, str, Origin]:
    """The request, the text of its reply key, and whose it is. Base mode tells nothing of the sender, so the types are
    checked as of any input.

    Raises:
        EnvelopeError: the bytes are not what `pack` makes.
        RecipeError, RecipeMismatch: but for a recipe that cannot be read.
    """
    head, blob = unpack(data)
    try:
        origin = Origin(*(head.pop(name, "") for name in ("request_id", "traceparent")))
    except (TypeError, ValueError):
        raise EnvelopeError from None
    kinds = {**_COMMON, **(_HIDE_OPTIONS if kind == "hide" else _RECOVER_OPTIONS)}
    if not typed(head, kinds):
        raise EnvelopeError
    width, height, prompt, reply = head["width"], head["height"], head["identity_prompt"], head["reply_key"]
    if head["format"] not in MEDIA_TYPES or min(width, height) < 1 or len(blob) != width * height * 3:
        raise EnvelopeError
    picture, secret = Picture(width, height, blob), SecretStr(prompt)
    if kind == "hide":
        named = head["scheme"] in SCHEMES and head["channel"] in CHANNELS and head["solver"] != ""
        if not named or (head["steps"] is not None and head["steps"] < 1):
            raise EnvelopeError
        return HideRequest(picture, secret, **{name: head[name] for name in _HIDE_OPTIONS}), reply, origin
    recipe = Recipe.from_text(head["recipe"])
    return RecoverRequest(picture, secret, recipe, head["format"], head["decoy"]), reply, origin


@dataclass(frozen=True, repr=False)
class JobResult:
    """A finished picture: encoded bytes, its media type, the recipe's text (of a hiding) and the seconds it took.

    `authentic`: of a recovery under `sealed`, whether the face is the sender's (True) or a decoy (False).
    """

    picture: bytes
    media_type: str
    recipe: str | None
    seconds: float
    authentic: bool | None = None

    def pack(self) -> bytes:
        return pack({name: getattr(self, name) for name in _RESULT}, self.picture)

    @classmethod
    def unpack(cls, data: bytes) -> "JobResult":
        head, blob = unpack(data)
        if not typed(head, _RESULT) or head["media_type"] not in MEDIA_TYPES.values():
            raise EnvelopeError
        return cls(blob, **head)


@dataclass(frozen=True)
class IdempotencyClaim:
    """The caller's `Idempotency-Key`. `JobStore.submit` makes the fingerprint of the request: keyed, so that a prompt
    cannot be guessed from it.
    """

    key: str


@dataclass(frozen=True)
class Record:
    """A job as Redis keeps it: every field there is. What is not known yet, or not any more, is None.

    Times are seconds since the epoch. `execution` and `worker` are those of the present attempt. `seen`: when a look
    found the id taken out of the queue and not begun, or its worker silent; `returns`: how often an id of the first
    sort was put back. `webhook` is sealed and goes once the webhook was told, or given up.
    """

    kind: Kind
    state: State
    owner: str
    created: float
    batch: str
    reply_key: str
    attempts: int | None = None
    execution: str | None = None
    worker: str | None = None
    started: float | None = None
    step: int | None = None
    steps: int | None = None
    seen: int | None = None
    returns: int | None = None
    error_code: str | None = None
    error_detail: str | None = None
    read: float | None = None
    webhook: bytes | None = None
    webhook_attempts: int | None = None
    webhook_end: WebhookEnd | None = None
    webhook_reason: str | None = None

    @classmethod
    def of(cls, found: Mapping[bytes, bytes]) -> "Record":
        """From the fields in Redis; EnvelopeError when they are none of ours."""
        try:
            plain = {name.decode(): found[name] if name == b"webhook" else found[name].decode() for name in found}
            return _RECORD.validate_python(plain)
        except ValueError:
            raise EnvelopeError from None

    def stored(self) -> dict[str, str | bytes | float]:
        """The fields that are known, as Redis takes them."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def view(self, job_id: str, place: int | None = None, *, has_result: bool = True) -> "JobView":
        """What the owner sees. `place` counts from 0; a done job whose result is gone is shown as expired."""
        return JobView(
            id=job_id,
            kind=self.kind,
            state="expired" if self.state == "done" and not has_result else self.state,
            created=self.created,
            position=place + 1 if self.state == "queued" and place is not None else None,
            step=self.step,
            steps=self.steps,
            started=self.started,
            attempts=self.attempts or 0,
            error_code=self.error_code,
            error_detail=self.error_detail or None,
            webhook="pending" if self.webhook else self.webhook_end,
            webhook_reason=self.webhook_reason or None,
        )


_RECORD = TypeAdapter(Record)


@dataclass(frozen=True)
class JobView:
    """What a job's owner may see. Times are seconds since the epoch.

    `position` is 1 for the next job of the queue; None once a worker took it. `step` of `steps` counts the
    running computation. `webhook` is None where none was asked for; `webhook_reason` says why the last attempt to
    tell it failed. `replayed` marks a view that an idempotency key gave back instead of making a job.
    """

    id: str
    kind: Kind
    state: State
    created: float
    position: int | None = None
    step: int | None = None
    steps: int | None = None
    started: float | None = None
    attempts: int = 0
    error_code: str | None = None
    error_detail: str | None = None
    webhook: WebhookState | None = None
    webhook_reason: str | None = None
    replayed: bool = field(default=False, compare=False)

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL

    @property
    def error(self) -> DdsrError | None:
        """What to answer to somebody who asks for the result now; None when it is there."""
        if self.state == "done":
            return None
        if self.state == "failed":
            return error_from_code(self.error_code or "", self.error_detail or "")
        if self.state == "cancelled":
            return JobCancelled()
        return JobGone() if self.state == "expired" else JobNotReady()


@dataclass(frozen=True)
class JobPage:
    """Some of an owner's jobs, newest first. `next` is the cursor of the next page; None: there are no more."""

    jobs: tuple[JobView, ...]
    next: str | None


@dataclass(frozen=True)
class WorkerInfo:
    """A live worker as it announces itself. `started` is in seconds since the epoch; `private_webhooks`: it calls
    webhooks at private addresses too.
    """

    name: str
    public_key: str
    model: str
    image_size: int
    started: float = field(default_factory=time.time)
    private_webhooks: bool = False


def announced(text: bytes | str) -> WorkerInfo | None:
    """An announcement; None when it is not one of this version."""
    try:
        worker = WorkerInfo(**json.loads(text))
        PublicKey.from_text(worker.public_key)
        named = isinstance(worker.name, str) and isinstance(worker.model, str)
        sized = type(worker.image_size) is int and worker.image_size > 0
        told = type(worker.private_webhooks) is bool
        return worker if named and sized and told and isinstance(worker.started, int | float) else None
    except (TypeError, ValueError, AttributeError, RecursionError, EnvelopeError):
        return None


@dataclass(frozen=True)
class QueueHealth:
    """`trusted` are the live workers to whose keys this service may seal.

    `queued` jobs wait where `limit` may; `oldest` is the age in seconds of the first of them, 0 where none waits.
    `memory` and `memory_limit` are bytes, as Redis says; a limit of 0 is none. `trouble` is what a job would be refused
    with now.
    """

    redis: bool
    queued: int = 0
    workers: tuple[WorkerInfo, ...] = ()
    trusted: tuple[WorkerInfo, ...] = ()
    oldest: float = 0.0
    memory: int = 0
    memory_limit: int = 0
    limit: int = 0
    trouble: DdsrError | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """Fingerprints of the models of live trusted workers."""
        return tuple(sorted({worker.model for worker in self.trusted}))


_COMMON: dict[str, Any] = {"width": int, "height": int, "identity_prompt": str, "reply_key": str}
_HIDE_OPTIONS: dict[str, Any] = {
    "disguise_prompt": str,
    "scheme": str,
    "solver": str | None,
    "steps": int | None,
    "channel": str,
    "format": str,
}
_RECOVER_OPTIONS: dict[str, Any] = {"recipe": str, "format": str, "decoy": bool}
_RESULT: dict[str, Any] = {
    "media_type": str,
    "recipe": str | None,
    "seconds": int | float,
    "authentic": bool | None,
}


def _shape(picture: Picture) -> dict[str, int]:
    return {"width": picture.width, "height": picture.height}


def _size(picture: Picture) -> str:
    return f"{picture.width}x{picture.height}"
