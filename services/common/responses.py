"""From a job to an HTTP response, and the waiting in between."""

import time

from anyio import current_time
from fastapi import Request, Response
from fastapi.responses import JSONResponse

from services.common.context import Context
from services.common.preferences import Preference, accept_of, choose_media_type
from services.common.problems import NotAcceptable
from services.common.schemas import CropBox, Job, SubmittedJob
from shared import tracing
from shared.errors import QueueUnavailable
from shared.faces import Box
from shared.jobs import JobResult, JobView
from shared.jobs.model import MEDIA_TYPES

FIRST_POLL = 0.01  # seconds
LAST_POLL = 0.5
SPARE_POLL = 2.0  # while completions are published to us: a message may get lost


async def wait_for_completion(request: Request, context: Context, view: JobView, seconds: float) -> JobView:
    """Wait until the job has ended, `seconds` are over or the client is gone. Holds no thread. Of an owner for whom
    `max_waiting` others wait, nobody waits.

    Raises:
        QueueUnavailable: Redis did not answer to the last question. Until the time is over it is asked again.
    """
    with context.place(request.state.owner) as free:
        return await _watch_until_completion(request, context, view, seconds if free else 0.0)


async def _watch_until_completion(request: Request, context: Context, view: JobView, seconds: float) -> JobView:
    """A completion is published, or, while the subscription is broken, asked for."""
    start = current_time()
    deadline, due = start + seconds, start + SPARE_POLL
    away: QueueUnavailable | None = None
    with context.completions.watch(view.id) as completion:
        while not view.terminal and (left := deadline - current_time()) > 0:
            told = await completion.wait(min(pause_before(view, current_time() - start, time.time()), left))
            if await request.is_disconnected():
                break
            now = current_time()
            if context.completions.listening and not told and now < min(due, deadline):
                continue
            due = now + SPARE_POLL
            try:
                view, away = await context.run_redis(context.store.view, view.id, owner=request.state.owner), None
            except QueueUnavailable as error:
                away = error
    if away is not None:
        raise away
    return view


def pause_before(view: JobView, waited: float, now: float) -> float:
    """Seconds until the next look: half of what the computation still takes, as its steps tell, so that the end is
    seen soon after it came and looked for seldom; without steps, a fifth of what was waited so far."""
    pause = waited / 5
    if view.state == "running" and view.started is not None and view.step and view.steps:
        pause = max(0.0, now - view.started) / view.step * (view.steps - view.step) / 2
    return min(max(pause, FIRST_POLL), LAST_POLL)


async def respond(
    request: Request, context: Context, view: JobView, preference: Preference, crop: Box | None = None
) -> Response:
    """The picture of a finished job, the error of a failed one, else 202 with the job's address."""
    applied = {"Preference-Applied": preference.applied} if preference.applied else {}
    if not view.terminal or (preference.at_once and not (view.replayed and takes_pictures(request))):
        return accepted(context, view, applied, crop)
    return picture(request, view.id, await read_result(request, context, view), applied)


async def read_result(request: Request, context: Context, view: JobView) -> JobResult:
    """See `JobStore.result`."""
    with tracing.below("result", job=view.id):
        return await context.run_redis(context.store.result, view.id, owner=request.state.owner)


def takes_pictures(request: Request) -> bool:
    """Whether `Accept` lets a picture be the answer."""
    try:
        return bool(choose_media_type(accept_of(request), tuple(MEDIA_TYPES.values())))
    except NotAcceptable:
        return False


def accepted(context: Context, view: JobView, headers: dict[str, str], crop: Box | None) -> Response:
    """202 with the job and where to ask for it."""
    job: Job = Job.of(view)
    if crop is not None:
        box = CropBox(left=crop.left, top=crop.top, width=crop.side, height=crop.side, of=crop.of)
        job = SubmittedJob(**dict(job), crop=box)
    extra = {
        "Location": job.links.self,
        "Retry-After": str(context.settings.retry_after),
        "DDSR-Job": view.id,
    }
    return JSONResponse(job.model_dump(mode="json"), 202, headers=extra | headers)


def cropped(response: Response, crop: Box | None) -> Response:
    """`DDSR-Crop`, a dictionary of structured fields (RFC 9651), where something was cut out."""
    if crop is not None:
        square = f"left={crop.left}, top={crop.top}, width={crop.side}, height={crop.side}"
        response.headers["DDSR-Crop"] = f"{square}, of={crop.of}"
    return response


def picture(request: Request, job_id: str, result: JobResult, headers: dict[str, str]) -> Response:
    """200 with the picture and, where there is one, its recipe.

    Raises:
        NotAcceptable: the client does not take the picture's media type.
    """
    choose_media_type(accept_of(request), [result.media_type])
    extra = {"DDSR-Job": job_id, "Server-Timing": f"compute;dur={result.seconds * 1000:.0f}"}
    if result.recipe is not None:
        extra["DDSR-Recipe"] = result.recipe
    if result.authentic is not None:
        extra["DDSR-Authentic"] = "true" if result.authentic else "false"
    return Response(result.picture, media_type=result.media_type, headers=extra | headers)
