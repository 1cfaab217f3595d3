"""Whether the service lives, is ready, what it is, and its metrics."""

from fastapi import APIRouter, Request, Response

from services.common.auth import MetricsRoute
from services.common.context import context_of
from services.common.openapi import problems
from services.common.problems import NotReady, Unauthenticated
from services.common.schemas import Alive, Version
from shared.errors import KeyFileError

router = APIRouter(tags=["service"], responses=problems())
metrics_router = APIRouter(tags=["service"], route_class=MetricsRoute, responses=problems(Unauthenticated))
METRICS_EXAMPLE = 'ddsr_http_requests_total{method="POST",route="/hide",status="200"} 3.0\n'


@router.get("/livez", operation_id="livez", summary="The process answers", response_model=Alive)
async def livez() -> Alive:
    """Needs nothing: neither Redis nor a worker."""
    return Alive()


@router.get(
    "/readyz",
    operation_id="readyz",
    summary="A job would be taken now",
    response_model=Alive,
    responses=problems(NotReady, KeyFileError),
)
async def readyz(request: Request) -> Alive:
    """Needs a Redis that takes writes and a live worker whose public key this service trusts; as it was within the last
    second. `detail` says what is missing.
    """
    trouble = (await context_of(request).health()).trouble
    if isinstance(trouble, KeyFileError):
        raise KeyFileError(trouble.detail)
    if trouble is not None:
        raise NotReady(trouble.detail)
    return Alive()


@router.get("/version", operation_id="get_version", summary="Version and model", response_model=Version)
async def version(request: Request) -> Version:
    """`model` names the model that the live workers hold; a recipe names the one it was made with."""
    context = context_of(request)
    health = await context.health()
    models = health.models
    return Version(service=context.service, version=request.app.version, model=models[0] if models else None)


@metrics_router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Text exposition format",
            "content": {
                "text/plain": {"example": METRICS_EXAMPLE},
                "application/openmetrics-text": {"example": METRICS_EXAMPLE + "# EOF\n"},
            },
        },
    },
)
async def metrics(request: Request) -> Response:
    """Routes, statuses, codes and counts; no owner, job id or content; in OpenMetrics, ids of traces as exemplars. Asks
    for a key where keys are set.
    """
    context = context_of(request)
    text, media_type = await context.run_redis(context.metrics.render, request.headers.get("accept", ""))
    return Response(text, headers={"Content-Type": media_type})
