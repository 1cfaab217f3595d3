"""Bodies that both services speak."""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.common.openapi import EXAMPLE_CURSOR, EXAMPLE_JOB
from shared.errors import error_from_code
from shared.jobs import JobPage, JobView, Kind, State
from shared.jobs.model import WebhookState


class Failure(BaseModel):
    """Why a job failed, in the words of the problem table."""

    code: str = Field(examples=["prompt-too-long"])
    title: str = Field(examples=["The prompt is too long"])
    status: int = Field(description="the status that its result answers with", examples=[422])


class Links(BaseModel):
    """Addresses of a job."""

    self: str = Field(examples=[f"/jobs/{EXAMPLE_JOB}"])
    result: str = Field(examples=[f"/jobs/{EXAMPLE_JOB}/result"])
    events: str = Field(examples=[f"/jobs/{EXAMPLE_JOB}/events"])


class WebhookNews(BaseModel):
    """What became of the webhook."""

    state: WebhookState
    reason: str | None = Field(description="why it was given up", examples=["the webhook leads to a private address"])


_JOB_EXAMPLE: dict[str, Any] = {
    "id": EXAMPLE_JOB,
    "kind": "hide",
    "state": "running",
    "position": None,
    "step": 12,
    "steps": 50,
    "error": None,
    "webhook": None,
    "created": "2026-11-23T12:00:00Z",
    "links": {
        "self": f"/jobs/{EXAMPLE_JOB}",
        "result": f"/jobs/{EXAMPLE_JOB}/result",
        "events": f"/jobs/{EXAMPLE_JOB}/events",
    },
}


class Job(BaseModel):
    """What is known of a job; nothing of what it was given or made."""

    model_config = ConfigDict(json_schema_extra={"examples": [_JOB_EXAMPLE]})

    id: str
    kind: Kind
    state: State
    position: int | None = Field(description="place in the queue, 1 is next; only while queued")
    step: int | None = Field(description="diffusion steps done; only while running")
    steps: int | None = Field(description="diffusion steps in all")
    error: Failure | None
    webhook: WebhookNews | None = Field(description="null where none was asked for")
    created: datetime
    links: Links

    @classmethod
    def of(cls, view: JobView) -> "Job":
        """The public form of the queue's record."""
        address = f"/jobs/{view.id}"
        return cls(
            id=view.id,
            kind=view.kind,
            state=view.state,
            position=view.position,
            step=view.step,
            steps=view.steps,
            error=_failure(view.error_code),
            webhook=WebhookNews(state=view.webhook, reason=view.webhook_reason) if view.webhook else None,
            created=datetime.fromtimestamp(view.created, UTC),
            links=Links(self=address, result=f"{address}/result", events=f"{address}/events"),
        )


class Jobs(BaseModel):
    """A page of the caller's jobs, newest first."""

    jobs: list[Job] = Field(examples=[[_JOB_EXAMPLE]])
    next: str | None = Field(
        description="`cursor` of the next page, which may be empty; null: there are no more", examples=[EXAMPLE_CURSOR]
    )

    @classmethod
    def of(cls, page: JobPage) -> "Jobs":
        """The public form of the queue's page."""
        return cls(jobs=[Job.of(view) for view in page.jobs], next=page.next)


class CropBox(BaseModel):
    """A part of the uploaded picture, in its pixels after turning by EXIF."""

    left: int = Field(ge=0, examples=[412])
    top: int = Field(ge=0, examples=[96])
    width: int = Field(ge=1, examples=[640])
    height: int = Field(ge=1, examples=[640])
    of: Literal["face", "centre"] = Field(examples=["face"])


class SubmittedJob(Job):
    """A job in the answer to its submission."""

    crop: CropBox | None = Field(default=None, description="what was cut out; absent with `crop=none`")


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Version(BaseModel):
    """What runs here, and the model that the workers hold."""

    service: str = Field(examples=["sender"])
    version: str = Field(examples=["0.1.0"])
    model: str | None = Field(
        description="fingerprint of the workers' model; null while none is known",
        examples=["5d1c8e0a3f7b2964"],
    )


def _failure(code: str | None) -> Failure | None:
    if code is None:
        return None
    error = error_from_code(code)
    return Failure(code=error.code, title=error.title, status=error.status)
