"""The common half of `POST /hide` and `POST /recover`: queue the job, wait as the client prefers, answer."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Request, Response
from pydantic import BaseModel, Field

from services.common.context import Context
from services.common.preferences import Preference, accept_of, choose_media_type, parse_prefer
from services.common.problems import NotAcceptable
from services.common.responses import cropped, respond, wait_for_completion
from shared import tracing
from shared.faces import Box
from shared.imaging import PictureFormat
from shared.jobs import HideRequest, IdempotencyClaim, RecoverRequest, WorkerInfo
from shared.jobs.model import MEDIA_TYPES
from shared.limits import MAX_PROMPT

PROMPT_LENGTHS: dict[str, Any] = {"minLength": 1, "maxLength": MAX_PROMPT}  # of the canonical form
KEY_PATTERN = r"^[\x21-\x7e]+$"


Webhook = Annotated[
    str | None,
    Field(
        default=None,
        max_length=2048,
        description="URL that is told of the job's id and status at its end, signed by Standard Webhooks",
        examples=["https://example.org/hooks/ddsr"],
    ),
]


class SubmitHeaders(BaseModel):
    """Headers that change how a submission is answered."""

    prefer: Annotated[
        str | None,
        Field(
            default=None,
            max_length=256,
            description="`wait=N`: wait up to N seconds for the picture; `respond-async`: do not (RFC 7240)",
            examples=["wait=30", "respond-async"],
        ),
    ]
    idempotency_key: Annotated[
        str | None,
        Field(
            default=None,
            min_length=1,
            max_length=255,
            pattern=KEY_PATTERN,
            description="A second request with this key and the same content gives the first job back",
            examples=["7c1f0b8e-6a1d-4b43-9f4e-2d2f7f0a9c11"],
        ),
    ]


def preference_of(request: Request, context: Context) -> Preference:
    """How long to wait; `Prefer` may have several lines."""
    settings, header = context.settings, ", ".join(request.headers.getlist("prefer"))
    return parse_prefer(header, default=settings.default_wait, longest=settings.max_wait)


def picture_format(request: Request, asked: PictureFormat | None, preference: Preference) -> PictureFormat:
    """The format that the form asks for, else PNG, unless `Accept` excludes it.

    Raises:
        NotAcceptable: `Accept` excludes every choice, and a picture may be answered. Asked before any work, so that a
            result is not made for nothing.
    """
    choices: tuple[PictureFormat, ...] = (asked,) if asked else ("png", "jpeg", "webp")
    try:
        chosen = choose_media_type(accept_of(request), [MEDIA_TYPES[name] for name in choices])
    except NotAcceptable:
        if not preference.at_once:
            raise
        return choices[0]
    return next(name for name in choices if MEDIA_TYPES[name] == chosen)


@dataclass(frozen=True, repr=False)
class Submission:
    """A checked request, the live workers that it is made for, and what was cut from the upload."""

    job: HideRequest | RecoverRequest
    workers: tuple[WorkerInfo, ...]
    crop: Box | None = None


async def submit(
    request: Request, context: Context, submission: Submission, headers: SubmitHeaders, webhook: str | None
) -> Response:
    """Queue, wait, answer. A client that leaves meanwhile, with no other way to its job, cancels it."""
    claim = IdempotencyClaim(headers.idempotency_key) if headers.idempotency_key else None
    owner = request.state.owner
    with tracing.below("submit", role="producer", kind=context.kind) as span:
        view = await context.run_redis(
            context.store.submit,
            context.kind,
            submission.job,
            owner=owner,
            workers=submission.workers,
            idempotency=claim,
            webhook=webhook,
        )
        span.set(job=view.id)
    request.state.slot.release()
    request.state.job = view.id
    if not view.replayed:
        context.metrics.jobs.labels(context.kind).inc()
    preference = preference_of(request, context)
    view = await wait_for_completion(request, context, view, preference.seconds)
    if not view.terminal and claim is None and webhook is None and await request.is_disconnected():
        view = await context.run_redis(context.store.cancel, view.id, owner=owner)
    return cropped(await respond(request, context, view, preference, submission.crop), submission.crop)
