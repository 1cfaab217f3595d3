"""The routes of a job after its submission; the same in both services, each for its own kind of job."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from anyio import current_time, sleep
from fastapi import APIRouter, Depends, Header, HTTPException, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from services.common.auth import AuthenticatedRoute
from services.common.context import context_of
from services.common.openapi import EXAMPLE_CURSOR, EXAMPLE_JOB, FAILURES, KEYED, PICTURE_DOCS, header_docs, problems
from services.common.problems import InvalidRequest, NotAcceptable, RateLimited
from services.common.responses import picture, read_result, wait_for_completion
from services.common.schemas import Job, Jobs
from shared.errors import JobNotFound, JobNotReady, PromptTooLong, QueueUnavailable
from shared.jobs import JobView, State
from shared.jobs.model import CURSOR

EVENT_EXAMPLE = (
    'event: queued\nid: queued\ndata: {"id":"3f9a","state":"queued","position":2}\n\n'
    'event: running\nid: running\ndata: {"id":"3f9a","state":"running","step":12,"steps":50}\n\n'
    'event: done\nid: done\ndata: {"id":"3f9a","state":"done"}\n\n'
)
EVENT_PAUSE = 0.25  # seconds between two looks at a job that somebody follows
_ID = re.compile(r"[0-9a-f]{32}")

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=AuthenticatedRoute, responses=problems(*KEYED))
JobId = Annotated[
    str,
    Path(
        description="as in `Location`",
        json_schema_extra={"pattern": "^[0-9a-f]{32}$"},
        examples=[EXAMPLE_JOB],
    ),
]


async def look(request: Request, job_id: JobId) -> JobView:
    """The caller's job.

    Raises:
        JobNotFound: none of this id, or one of another owner or of the other service.
    """
    if _ID.fullmatch(job_id) is None:
        raise JobNotFound
    context = context_of(request)
    view = await context.run_redis(context.store.view, job_id, owner=request.state.owner)
    if view.kind != context.kind:
        raise JobNotFound
    request.state.job = view.id
    return view


Looked = Annotated[JobView, Depends(look)]


LastEvent = Annotated[
    str, Header(alias="Last-Event-ID", description="what a browser sends with its reconnection", examples=["running"])
]


async def follow(request: Request, view: Looked, last_event: LastEvent = "") -> AsyncIterator[JobView]:
    """The caller's job, and a place to follow it from, kept until the stream has ended.

    Raises:
        HTTPException: 204, by which a browser's `EventSource` stops: the caller was told of the end.
        RateLimited: the caller has as many requests waiting as it may.
    """
    if view.terminal and last_event == view.state:
        raise HTTPException(204)
    context = context_of(request)
    with context.place(request.state.owner) as free:
        if not free:
            error = RateLimited(f"no more than {context.settings.max_waiting} requests wait at a time")
            error.retry_after = context.settings.retry_after
            raise error
        yield view


Followed = Annotated[JobView, Depends(follow)]


@router.get(
    "",
    operation_id="list_jobs",
    summary="The caller's jobs",
    response_model=Jobs,
    responses=problems(InvalidRequest),
)
async def list_jobs(
    request: Request,
    state: Annotated[
        list[State],
        Query(default_factory=list, description="only jobs in one of these states", examples=[["queued", "running"]]),
    ],
    limit: Annotated[int, Query(ge=1, le=100, description="jobs of a page at most", examples=[20])] = 20,
    cursor: Annotated[
        str | None,
        Query(pattern=f"^{CURSOR.pattern}$", description="`next` of the page before", examples=[EXAMPLE_CURSOR]),
    ] = None,
) -> Jobs:
    """Newest first, those of the caller's key at this service, as long as it remembers them (a day after their end).

    Of a rare state a page may hold fewer jobs than `limit`, or none, and still have a `next`.
    """
    context = context_of(request)
    owner = request.state.owner
    call = context.store.page
    return Jobs.of(await context.run_redis(call, context.kind, owner=owner, states=state, cursor=cursor, limit=limit))


@router.get(
    "/{job_id}",
    operation_id="get_job",
    summary="State of a job",
    response_model=Job,
    responses=problems(JobNotFound, InvalidRequest),
)
async def show(
    request: Request,
    view: Looked,
    wait: Annotated[float, Query(ge=0, le=300, description="seconds to wait for the job's end", examples=[30])] = 0,
) -> Job:
    """Answers at once, or, with `wait`, as soon as the job has ended or the seconds are over."""
    context = context_of(request)
    seconds = min(wait, context.settings.max_wait)
    return Job.of(await wait_for_completion(request, context, view, seconds))


@router.get(
    "/{job_id}/result",
    operation_id="get_result",
    summary="The picture of a finished job",
    response_class=Response,
    responses={
        200: {
            "description": "The picture. It can be read again for a minute, then it is gone",
            "content": PICTURE_DOCS,
            "headers": header_docs("DDSR-Recipe", "DDSR-Authentic", "DDSR-Job", "Server-Timing"),
        },
        **problems(*KEYED, JobNotFound, JobNotReady, NotAcceptable, PromptTooLong, *FAILURES),
    },
)
async def result(request: Request, view: Looked) -> Response:
    """409 while the job runs; 410 after reading or expiry; the error of a job that failed. HEAD reads nothing."""
    if getattr(request.state, "head", False):
        return _promised(view)
    return picture(request, view.id, await read_result(request, context_of(request), view), {})


@router.delete(
    "/{job_id}",
    operation_id="cancel_job",
    summary="Cancel a job, or drop its result",
    response_model=Job,
    responses=problems(JobNotFound),
)
async def cancel(request: Request, view: Looked) -> Response:
    """A queued job never starts, a running one stops within one diffusion step. The result of a finished one is
    dropped at once: its state is `expired`. Any other end stays as it is.
    """
    context = context_of(request)
    ended = await context.run_redis(context.store.cancel, view.id, owner=request.state.owner)
    return JSONResponse(Job.of(ended).model_dump(mode="json"))


@router.get(
    "/{job_id}/events",
    operation_id="follow_job",
    summary="Follow a job by server-sent events",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Events named by the state; one of `done`, `failed`, `cancelled`, `expired` ends",
            "content": {"text/event-stream": {"schema": {}, "example": EVENT_EXAMPLE}},
        },
        204: {"description": "`Last-Event-ID` names the end: there is nothing more to follow"},
        **problems(JobNotFound),
    },
)
async def events(request: Request, view: Followed) -> AsyncIterator[ServerSentEvent]:
    """One event for the job as it is and for every change: place in the queue, step k of n, the end."""
    context = context_of(request)
    owner = request.state.owner
    deadline = current_time() + context.settings.stream_seconds
    yield _event(view)
    while not view.terminal and current_time() < deadline:
        await sleep(EVENT_PAUSE)
        try:
            new = await context.run_redis(context.store.view, view.id, owner=owner)
        except (JobNotFound, QueueUnavailable):
            return  # the client's reconnection gets the proper status
        if new != view:
            view = new
            yield _event(view)


def _promised(view: JobView) -> Response:
    """What can be said of a result without reading it, which would start its last minute."""
    if (error := view.error) is not None:
        raise error
    response = Response(headers={"DDSR-Job": view.id})
    del response.headers["Content-Length"]
    return response


def _event(view: JobView) -> ServerSentEvent:
    return ServerSentEvent(event=view.state, id=view.state, data=Job.of(view), retry=2000)
