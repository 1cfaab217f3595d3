"""The verification backend: gets a stego, asks the receiver for the face in it, compares, answers, forgets.

    python -m examples.face_verification.backend      # settings: the variables of `Settings`

The reference is the backend's own: a caller that could hand in both pictures would verify himself against himself. So
`subject` stands where CompreFace takes `target_image` and DeepFace takes `img2`.

Nothing of a request is kept: no file, no log line about its content. The recovered face lives in this process for as
long as the comparison takes. Uvicorn's access log is off; the log below says how many seconds, and not who.
"""

import base64
import binascii
import hmac
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, File, Form, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from ddsr_client import AsyncClient, ClientError, InvalidInput, JobProblem, Problem, Secret
from examples.face_verification.recogniser import THRESHOLD, Recogniser, Seen, distance
from examples.face_verification.register import Enrolled, RegisterError, enrol, read_prompts
from examples.face_verification.schemas import (
    Area,
    Areas,
    CompreFaceAnswer,
    CompreFaceResult,
    DeepFaceAnswer,
    DeepFaceRequest,
    match,
)

_LOG = logging.getLogger("verification")
MOST_BYTES = 8 * 1024 * 1024
NOT_ENROLLED, BAD_PICTURE, BAD_KEY, NOT_NOW = 20, 26, 19, 0  # codes beside messages, as CompreFace's answers have


@dataclass(frozen=True)
class Settings:
    """`VERIFY_FACES`: folder of enrolled photographs, read at start. `VERIFY_PROMPTS`: file of the identity prompts.
    `VERIFY_KEY_FILE`: file of the key that callers send as `x-api-key`. `VERIFY_THRESHOLD`, `VERIFY_PORT`.
    The receiver: `DDSR_RECEIVER_URL` and the other variables of the client.
    """

    faces: Path
    prompts: Path
    key: Secret
    threshold: float = THRESHOLD
    port: int = 8003

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> "Settings":
        """KeyError, ValueError or OSError where something is missing."""
        return cls(
            faces=Path(variables["VERIFY_FACES"]),
            prompts=Path(variables["VERIFY_PROMPTS"]),
            key=Secret.from_file(variables["VERIFY_KEY_FILE"]),
            threshold=float(variables.get("VERIFY_THRESHOLD", THRESHOLD)),
            port=int(variables.get("VERIFY_PORT", "8003")),
        )


class Refused(Exception):
    """An answer of 4xx or 503. The text is for the caller."""

    def __init__(self, status: int, code: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


@dataclass
class Verifier:
    """Recovers and compares. `client` speaks with the receiver only."""

    client: AsyncClient
    recogniser: Recogniser
    people: Mapping[str, Enrolled]
    threshold: float

    async def verify(self, stego: bytes, subject: str) -> tuple[Enrolled, Seen | None, float | None]:
        """The person, the face that came (None: none), and their distance. Raises Refused."""
        person = self.people.get(subject)
        if person is None:
            raise Refused(404, NOT_ENROLLED, "nobody of this name is enrolled")
        started = time.perf_counter()
        face = await self._recover(stego, person.identity_prompt)
        found = await run_in_threadpool(self.recogniser.look, face)
        _LOG.info("verification in %.1f s", time.perf_counter() - started)
        return person, found, None if found is None else distance(found, person.face)

    async def _recover(self, stego: bytes, identity_prompt: Secret) -> bytes:
        try:
            job = await self.client.submit_recover(stego, identity_prompt)
            try:
                return (await job.result()).data
            finally:
                with suppress(ClientError):
                    await job.cancel()  # the sealed face leaves the queue's store now, not in a minute
        except InvalidInput as problem:
            raise Refused(400, BAD_PICTURE, f"the picture cannot be used: {problem.title}") from None
        except ClientError as error:
            _LOG.warning("the receiver: %s", error)
            wait = error.retry_after if isinstance(error, Problem) and not isinstance(error, JobProblem) else None
            raise Refused(503, NOT_NOW, "the face cannot be recovered now", wait) from None


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application. Reads prompts and photographs; RegisterError or RecogniserMissing where it cannot."""
    recogniser = Recogniser()
    people = enrol(recogniser, settings.faces, read_prompts(settings.prompts))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncClient() as client:
            app.state.verifier = Verifier(client, recogniser, people, settings.threshold)
            _LOG.info("ready, %d enrolled", len(people))
            yield

    def keyed(x_api_key: Annotated[str, Header()] = "") -> None:
        if not hmac.compare_digest(x_api_key.encode(), settings.key.reveal().encode()):
            raise Refused(401, BAD_KEY, "send a valid key as x-api-key")

    app = FastAPI(title="Face verification", lifespan=lifespan, docs_url=None, redoc_url=None, max_body_size=MOST_BYTES)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    keyed_only = [Depends(keyed)]

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/api/v1/verification/verify", dependencies=keyed_only)
    async def compreface(
        request: Request, source_image: Annotated[bytes, File()], subject: Annotated[str, Form()]
    ) -> CompreFaceAnswer:
        """In CompreFace's shape: `source_image` is the stego."""
        verifier: Verifier = request.app.state.verifier
        person, found, apart = await verifier.verify(source_image, subject)
        if found is None or apart is None:
            return CompreFaceAnswer(result=[CompreFaceResult(source_image_face=None, face_matches=[])])
        return CompreFaceAnswer(result=[match(subject, found, person.face, apart, verifier.threshold)])

    @app.post("/verify", dependencies=keyed_only)
    async def deepface(request: Request, body: DeepFaceRequest) -> DeepFaceAnswer:
        """In DeepFace's shape: `img1` is the stego."""
        verifier: Verifier = request.app.state.verifier
        started = time.perf_counter()
        person, found, apart = await verifier.verify(_from_base64(body.img1.get_secret_value()), body.subject)
        return DeepFaceAnswer(
            verified=apart is not None and apart <= verifier.threshold,
            distance=apart,
            threshold=verifier.threshold,
            facial_areas=Areas(img1=None if found is None else Area.of(found), img2=Area.of(person.face)),
            time=round(time.perf_counter() - started, 2),
        )

    return app


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text.partition("base64,")[2] or text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(400, BAD_PICTURE, "img1 is not base64") from None


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)  # noqa: S101 - narrows the type that Starlette's signature loses
    headers = {} if error.retry_after is None else {"Retry-After": str(round(error.retry_after))}
    return JSONResponse({"message": error.message, "code": error.code}, error.status, headers=headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's own answer repeats the input."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    places = ", ".join(".".join(map(str, item["loc"])) for item in error.errors())
    return JSONResponse({"message": f"missing or malformed: {places}", "code": BAD_PICTURE}, 400)


def main() -> int:
    """Serve on loopback until a signal."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = Settings.from_environment(os.environ)
        app = create_app(settings)
    except KeyError as error:
        sys.stderr.write(f"set {error.args[0]}\n")
        return 2
    except (OSError, ValueError, RuntimeError, RegisterError) as error:
        sys.stderr.write(f"refusing to start: {error}\n")
        return 2
    uvicorn.run(app, host="127.0.0.1", port=settings.port, access_log=False, log_config=None, server_header=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
