"""The verification backend: gets a stego, asks the receiver for the face in it, compares, answers, forgets.

    python -m examples.face_verification.backend      # settings: the variables of `Settings`

It speaks as CompreFace does (`compreface.py`) and as DeepFace does (`deepface.py`). Whoever hands in both pictures
verifies them against each other; who somebody is, only a comparison with an enrolled face tells.

Nothing of a request is kept: no file, no log line about its content. The recovered face lives in this process for as
long as the comparison takes. Uvicorn's access log is off; the log below says how many seconds, and not who.
"""

import hmac
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from ddsr_client import AsyncClient, Secret
from examples.face_verification import compreface, deepface
from examples.face_verification.recogniser import THRESHOLD, Recogniser
from examples.face_verification.register import RegisterError, enrol, read_prompts
from examples.face_verification.verifier import (
    INVALID,
    NO_KEY,
    UNDEFINED,
    UNKNOWN_KEY,
    Refused,
    Verifier,
)

_LOG = logging.getLogger("verification")


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

    def keyed(x_api_key: Annotated[str, Header()] = "", authorization: Annotated[str, Header()] = "") -> None:
        given = x_api_key or authorization.removeprefix("Bearer ")
        if not given:
            raise Refused(401, NO_KEY, "Missing header: x-api-key")
        if not hmac.compare_digest(given.encode(), settings.key.reveal().encode()):
            raise Refused(401, UNKNOWN_KEY, "the key in x-api-key is none of this backend's")

    MultiPartParser.spool_max_size = 0  # Starlette would write larger pictures to the temporary folder
    app = FastAPI(title="Face verification", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)
    for router in (compreface.router, deepface.router):
        app.include_router(router, dependencies=[Depends(keyed)])

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return app


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return _answer(request, error, {} if error.retry_after is None else {"Retry-After": str(round(error.retry_after))})


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's own answer repeats the input."""
    assert isinstance(error, RequestValidationError)
    places = ", ".join(".".join(map(str, item["loc"])) for item in error.errors())
    return _answer(request, Refused(400, INVALID, f"missing or malformed: {places}"), {})


async def _framework(request: Request, error: Exception) -> JSONResponse:
    """404, 405 and whatever else the framework answers by itself."""
    assert isinstance(error, HTTPException)
    words = HTTPStatus(error.status_code).phrase
    return _answer(request, Refused(error.status_code, UNDEFINED, words), dict(error.headers or {}))


def _answer(request: Request, refused: Refused, headers: Mapping[str, str]) -> JSONResponse:
    """In DeepFace's shape at its addresses, elsewhere in CompreFace's."""
    theirs = {"error": refused.message}
    body = theirs if request.url.path in deepface.PATHS else {"message": refused.message, "code": refused.code}
    return JSONResponse(body, refused.status, headers=dict(headers))


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
