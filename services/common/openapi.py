"""The OpenAPI document: problems, headers and examples that FastAPI cannot infer."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from services.common.problems import (
    MEDIA_TYPE,
    BadRequest,
    BodyTooLarge,
    InvalidRequest,
    Issue,
    NotAcceptable,
    Problem,
    RateLimited,
    SecretInQuery,
    SlowUpload,
    TooBusy,
    Unauthenticated,
    UnsupportedMediaType,
    describe,
)
from services.common.settings import ServiceSettings
from shared.errors import (
    BrokenPicture,
    ComputationFailed,
    DdsrError,
    IdempotencyConflict,
    IdempotencyMismatch,
    InvalidOption,
    InvalidPrompt,
    JobCancelled,
    JobGone,
    JobTimeout,
    ModelError,
    NoWorker,
    PictureTooLarge,
    PromptTooLong,
    QueueFull,
    QueueUnavailable,
    SolverError,
    UnsupportedPicture,
    WorkerLost,
    WrongPictureSize,
)

Document = dict[str, Any]
Responses = dict[int | str, dict[str, Any]]

EVERYWHERE = (SecretInQuery, DdsrError)
KEYED = (Unauthenticated, RateLimited, QueueUnavailable)
EXAMPLE_ID = "0b8e7a52-5d0c-4f5e-9a52-0a4f5c9d7e11"
EXAMPLE_JOB = "3f9a0c5b7d1e42688ab0c4d2e6f81357"
EXAMPLE_CURSOR = f"1795608000123456-{EXAMPLE_JOB}"
CROP_EXAMPLE = "left=412, top=96, width=640, height=640, of=face"
EXAMPLE_PROMPT = "a smiling woman with short hair, lived outage flanked humorous afar"
EXAMPLE_RECIPE = "ddsr3.eyJkIjoiYSBwaG90byBvZiBhIG1hbiIsImsiOjUwfQ"
SECURITY: list[dict[str, list[str]]] = [{"ApiKey": []}, {"Bearer": []}, {}]

HEADERS: Mapping[str, tuple[str, str]] = {
    "X-Request-ID": ("Name of this request in the logs", EXAMPLE_ID),
    "Location": ("Address of the job", f"/jobs/{EXAMPLE_JOB}"),
    "Retry-After": ("Seconds after which to ask again", "2"),
    "Preference-Applied": ("The part of `Prefer` that was followed", "wait=30"),
    "DDSR-Recipe": ("The public parameters that the receiver needs, in one line", EXAMPLE_RECIPE),
    "DDSR-Crop": ("What was cut from the upright picture, and around what", CROP_EXAMPLE),
    "DDSR-Authentic": ("Of `sealed`: whether the face is the sender's (`true`) or a decoy (`false`)", "true"),
    "DDSR-Job": ("Id of the job", EXAMPLE_JOB),
    "Server-Timing": ("Seconds of computation, in milliseconds", "compute;dur=4210"),
    "WWW-Authenticate": ("How to authenticate", 'Bearer realm="ddsr"'),
}


def header_docs(*names: str) -> dict[str, Any]:
    """The `headers` of a response."""
    return {
        name: {"description": HEADERS[name][0], "schema": {"type": "string"}, "example": HEADERS[name][1]}
        for name in names
    }


def problems(*kinds: type[DdsrError]) -> Responses:
    """The `responses` of a route for these errors, by status, with one example for every code."""
    by_status: dict[int, list[type[DdsrError]]] = defaultdict(list)
    every: tuple[type[DdsrError], ...] = (*EVERYWHERE, *kinds)
    for kind in dict.fromkeys(every):
        by_status[kind.status].append(kind)
    return {status: _response(kinds) for status, kinds in sorted(by_status.items())}


def _response(kinds: list[type[DdsrError]]) -> dict[str, Any]:
    examples = {kind.code: {"summary": kind.title, "value": example(kind)} for kind in kinds}
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": "; ".join(f"`{kind.code}`: {kind.title}" for kind in kinds),
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }


def example(kind: type[DdsrError]) -> dict[str, Any]:
    """An example body of a problem."""
    issues = [Issue(loc=["body", "identity_prompt"], type="missing")] if kind is InvalidRequest else None
    return describe(kind(), request_id=EXAMPLE_ID, issues=issues).model_dump(exclude_none=True)


BINARY = {"type": "string", "format": "binary"}  # what generators know a file by; OpenAPI 3.1 has other words for it
PICTURE_DOCS = {
    media: {"schema": BINARY, "example": "<the bytes of the picture>"}
    for media in ("image/png", "image/jpeg", "image/webp")
}
SUBMISSION = (
    *KEYED,
    BadRequest,
    NotAcceptable,
    SlowUpload,
    IdempotencyConflict,
    IdempotencyMismatch,
    BodyTooLarge,
    PictureTooLarge,
    UnsupportedMediaType,
    UnsupportedPicture,
    InvalidRequest,
    BrokenPicture,
    WrongPictureSize,
    InvalidPrompt,
    PromptTooLong,
    InvalidOption,
    QueueFull,
    NoWorker,
    TooBusy,
)
FAILURES = (JobCancelled, JobGone, JobTimeout, WorkerLost, ComputationFailed, ModelError, SolverError)


def submission_docs(
    form: dict[str, Any],
    *more: type[DdsrError],
    file_field: str,
    accepted: type[BaseModel] | None = None,
    headers: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The documentation of a `POST` that queues a job.

    `form` is an example of its body, `accepted` the body of 202 where it is more than the job, `headers` are those
    that this route alone adds to its answers.
    """
    encoding = {file_field: {"contentType": "image/png, image/jpeg, image/webp, image/avif, image/heic"}}
    return {
        "responses": {
            200: {
                "description": "The picture, where the job ended in time",
                "content": PICTURE_DOCS,
                "headers": header_docs("DDSR-Recipe", "DDSR-Job", *headers, "Preference-Applied", "Server-Timing"),
            },
            202: {
                "description": "Queued or running: ask at `Location`",
                "content": {"application/json": {} if accepted else {"schema": {"$ref": "#/components/schemas/Job"}}},
                "headers": header_docs("Location", "DDSR-Job", *headers, "Preference-Applied"),
                **({} if accepted is None else {"model": accepted}),
            },
            **problems(*SUBMISSION, *more, *FAILURES),
        },
        "openapi_extra": {"requestBody": {"content": {"multipart/form-data": {"example": form, "encoding": encoding}}}},
    }


def install_openapi(app: FastAPI, settings: ServiceSettings) -> None:
    """Give `app` the finished document, with the limits of `settings`; it is made at the first request for it."""

    def document() -> Document:
        if app.openapi_schema is None:
            app.openapi_schema = _finish(
                get_openapi(
                    title=app.title,
                    version=app.version,
                    summary=app.summary,
                    description=app.description,
                    routes=app.routes,
                    tags=app.openapi_tags,
                    servers=[{"url": "/", "description": "where this document was read"}],
                ),
                settings,
            )
        return app.openapi_schema

    app.openapi: Callable[[], Document] = document  # type: ignore[method-assign, misc]


def _finish(document: Document, settings: ServiceSettings) -> Document:
    components = document.setdefault("components", {})
    components["securitySchemes"] = {
        "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "Bearer": {"type": "http", "scheme": "bearer"},
    }
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components.setdefault("schemas", {}).update(schema.pop("$defs", {}))
    components["schemas"]["Problem"] = schema
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    for name, part in components["schemas"].items():
        if name.endswith("Form"):
            _finish_form(part["properties"], settings)
    for path in document["paths"].values():
        for operation in path.values():
            _finish_operation(operation)
    return document


def _finish_form(properties: Document, settings: ServiceSettings) -> None:
    """The limits of this service in place of those that hold everywhere, and files as generators know them."""
    limits = {"identity_prompt": {"maxLength": settings.max_prompt}, "steps": {"maximum": settings.max_steps}}
    limits["disguise_prompt"] = limits["identity_prompt"]
    for name, schema in properties.items():
        properties[name] = _without_null(schema) | limits.get(name, {})
        if properties[name].pop("contentMediaType", None):
            properties[name]["format"] = "binary"


def _without_null(schema: Document) -> Document:
    """A field or a header can be left out, but it cannot be null."""
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) != 1:
        return schema
    return {**choices[0], **{name: value for name, value in schema.items() if name != "anyOf"}}


def _finish_operation(operation: Document) -> None:
    """Headers that come with a status, whatever the route; keys where a route can answer 401.

    FastAPI adds its own 422 to a route that does not document one, although a free path parameter cannot fail.
    """
    if MEDIA_TYPE not in operation["responses"].get("422", {}).get("content", {MEDIA_TYPE: {}}):
        del operation["responses"]["422"]
    for parameter in operation.get("parameters", []):
        parameter["schema"] = _without_null(parameter["schema"])
    for status, response in operation["responses"].items():
        names = ["X-Request-ID"]
        names += ["WWW-Authenticate"] if status == "401" else []
        names += ["Retry-After"] if status in ("202", "429", "503") else []
        response.setdefault("headers", {}).update(header_docs(*names))
        for media in response.get("content", {}).values():
            if media.pop("itemSchema", None):  # FastAPI's, for an event stream; OpenAPI has it from 3.2 on
                media["schema"] = {}  # some tools take it for the stream's, some for an event's
    if "401" in operation["responses"]:
        operation["security"] = SECURITY
