"""What the client gives back of a job."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["hide", "recover"]
PictureFormat = Literal["png", "jpeg", "webp"]
Crop = Literal["auto", "centre", "face", "none"]
Scheme = Literal["sealed", "keyed", "paper"]
State = Literal["queued", "running", "done", "failed", "cancelled", "expired"]
Channel = Literal["lossless", "jpeg", "messenger", "degraded"]

KINDS: tuple[Kind, ...] = ("hide", "recover")
TERMINAL = frozenset({"done", "failed", "cancelled", "expired"})


@dataclass(frozen=True)
class Box:
    """What was cut out of the upright upload, in its pixels, and around what: `face` or `centre`."""

    left: int
    top: int
    width: int
    height: int
    of: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> "Box | None":
        """From `DDSR-Crop`, such as `left=412, top=96, width=640, height=640, of=face`; None for anything else."""
        found = dict(re.findall(r"(left|top|width|height)=(\d+)", text or ""))
        of = re.search(r"\bof=([a-z]+)", text or "")
        return cls(**{k: int(v) for k, v in found.items()}, of=of and of[1]) if len(found) == 4 else None


@dataclass(frozen=True)
class Failure:
    """Why a job failed, in the words of the service's table of problems."""

    code: str
    title: str
    status: int


@dataclass(frozen=True)
class Job:
    """A job at one moment.

    Attributes:
        state: `queued`, `running`, `done`, `failed`, `cancelled` or `expired`.
        position: place in the queue, 1 is next; only while queued.
        step, steps: diffusion steps done, and in all; known while it runs.
        error: of a failed job.
        created: time of its submission, ISO 8601.
    """

    id: str
    kind: str
    state: str
    position: int | None = None
    step: int | None = None
    steps: int | None = None
    error: Failure | None = None
    created: str | None = None

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL

    @property
    def fraction(self) -> float:
        """Share of the computation that is done, 0..1."""
        if self.state == "done":
            return 1.0
        return (self.step or 0) / self.steps if self.steps else 0.0

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> "Job":
        """From the service's JSON; fields that this version does not know are passed over. KeyError, TypeError."""
        error = body.get("error")
        return cls(
            id=str(body["id"]),
            kind=str(body["kind"]),
            state=str(body["state"]),
            position=body.get("position"),
            step=body.get("step"),
            steps=body.get("steps"),
            error=Failure(error["code"], error["title"], error["status"]) if error else None,
            created=body.get("created"),
        )
