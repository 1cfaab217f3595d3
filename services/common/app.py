"""The composition root: one service out of its router and its settings."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

from fastapi import APIRouter, FastAPI, UploadFile
from fastapi.middleware import Middleware
from fastapi.middleware.cors import CORSMiddleware
from pydantic.fields import FieldInfo
from starlette.formparsers import MultiPartParser

from services.common import health, job_routes
from services.common.completions import Completions
from services.common.context import Context
from services.common.handlers import install_handlers
from services.common.keys import load_keys
from services.common.metrics import ServiceMetrics
from services.common.middleware import BodyLimit, HeadAsGet, Linger, QueryGuard, RequestContext
from services.common.openapi import install_openapi
from services.common.rate_limits import RateLimits
from services.common.settings import ServiceSettings
from shared.jobs import JobStore, Kind, open_redis
from shared.logs import make_log
from shared.settings import QueueSettings

READABLE = (
    "DDSR-Authentic",
    "DDSR-Crop",
    "DDSR-Job",
    "DDSR-Recipe",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "Server-Timing",
    "X-Request-ID",
)


def build_app(
    *,
    kind: Kind,
    service: str,
    summary: str,
    description: str,
    router: APIRouter,
    fields: Mapping[str, FieldInfo],
    settings: ServiceSettings,
    queue: QueueSettings,
) -> FastAPI:
    """One service. `fields` are those of its form, whose names no query string may hold.

    Raises:
        ValueError: a malformed API key entry or rate limit.
        KeyFileError: the service's private key cannot be used.
    """
    keep_uploads_in_memory()
    version = _version()
    context = _make_context(kind, service, version, fields, settings, queue)
    app = FastAPI(
        title=f"DDSR {service}",
        version=version,
        summary=summary,
        description=description,
        lifespan=_lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "auto_configure": False,
        },  # it tells query strings
        redirect_slashes=False,  # a redirect would send a secret body twice
        middleware=[
            Middleware(Linger),
            Middleware(RequestContext, metrics=context.metrics, log=context.log),
            *_cross_origin(settings.allow_origins),
            Middleware(HeadAsGet),
            Middleware(QueryGuard, fields=fields),
            Middleware(BodyLimit, max_bytes=settings.max_body_bytes, seconds=settings.upload_seconds),
        ],
    )
    app.state.context = context
    install_handlers(app)
    for part in (router, job_routes.router, health.router, health.metrics_router):
        app.include_router(part)
    install_openapi(app, settings)
    return app


def _make_context(
    kind: Kind,
    service: str,
    version: str,
    fields: Mapping[str, FieldInfo],
    settings: ServiceSettings,
    queue: QueueSettings,
) -> Context:
    connection = open_redis(queue)
    log = make_log(service, settings.log_level)
    context = Context(
        kind=kind,
        service=service,
        settings=settings,
        store=JobStore(connection, queue),
        keys=load_keys(settings),
        limits=RateLimits(connection, settings),
        metrics=ServiceMetrics(service, version),
        log=log,
        completions=Completions(queue, log),
        fields=frozenset(fields),
        files=frozenset(name for name, field in fields.items() if field.annotation is UploadFile),
        close=connection.close,
    )
    context.metrics.watch_queue(context.store.health)
    return context


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    context: Context = app.state.context
    context.log.info("start", version=app.version, keys=len(context.keys.entries))
    async with context.completions.subscribed():
        yield
    context.close()
    context.log.info("stop")


def _cross_origin(origins: tuple[str, ...]) -> list[Middleware]:
    """Pages of these origins may send what the API takes, and read its headers. Never cookies: there are none."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST", "DELETE"),
            allow_headers=(
                "Authorization",
                "Idempotency-Key",
                "Last-Event-ID",
                "Prefer",
                "X-API-Key",
                "X-Request-ID",
                "traceparent",
            ),
            expose_headers=READABLE,
        )
    ]


def keep_uploads_in_memory() -> None:
    """Starlette moves a file part over 1 MiB to the temporary folder, in plain. 0 means never.

    `BodyLimit` bounds what is in memory. The size is an attribute of the class: there is no way to set it
    for one app.
    """
    MultiPartParser.spool_max_size = 0


def _version() -> str:
    try:
        return version_of("ddsr")
    except PackageNotFoundError:
        return "0"
