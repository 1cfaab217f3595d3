"""One question at a time: answers are remembered, and no service is asked faster or more often than allowed."""

import hashlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from evaluation.data import Picture
from evaluation.errors import ServiceRefused, ServiceUnavailable
from evaluation.runs import Run
from evaluation.services.providers import Answer, Busy, Service

EDGE = 512  # pixels; Face++ wants faces of 150 and more
PATIENCE = 60.0  # seconds for an answer
TRIES = 4  # of one question
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0  # seconds


@dataclass(frozen=True)
class Bounds:
    """What one run may ask of one service.

    Attributes:
        requests: at most so many, failed ones and repetitions included, since a service may charge for any.
        per_second: at most so many.
    """

    requests: int
    per_second: float


class Judge:
    """A service that is asked. Answers are kept in `folder`, by the hashes of both pictures; no picture is.

    Attributes:
        sent: requests of this run.
    """

    def __init__(
        self,
        service: Service,
        folder: Path,
        bounds: Bounds,
        client: httpx.Client,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        setup = {"service": service.name, "address": str(service.address), "edge": EDGE}
        self.service, self.answers, self.sent = service, Run(folder, setup), 0
        self._bounds, self._client, self._clock, self._sleep = bounds, client, clock, sleep
        self._next = clock()

    def ask(self, first: Picture, second: Picture) -> Answer:
        """What the service says of two pictures, uint8 RGB (H, W, 3); each pair is sent once, in this order.

        Raises:
            ServiceRefused: the service refuses, or the bound of requests is reached; a further run goes on.
            ServiceUnavailable: TRIES attempts had no answer.
        """
        key = f"{_digest(first)}-{_digest(second)}"
        if key not in self.answers.rows:
            found = self._asked(_png(first), _png(second))
            self.answers.add([{"key": key, "score": found.score, "threshold": found.threshold, "code": found.code}])
        row = self.answers.rows[key]
        return Answer(row["score"], row["threshold"], row["code"])

    def _asked(self, first: bytes, second: bytes) -> Answer:
        pause, why = _FIRST_PAUSE, ""
        for attempt in range(TRIES):
            if attempt:
                self._sleep(min(pause, _LONGEST_PAUSE))
                pause *= 2
            self._take_turn()
            try:
                request = self.service.request(first, second)  # signed anew: a signature carries its time
                return self._read(self._client.send(request, follow_redirects=False))
            except Busy as busy:
                why, pause = busy.code, max(pause, busy.seconds or 0)
            except httpx.RequestError as error:
                why = type(error).__name__
        raise ServiceUnavailable(f"{self.service.name} gave no answer in {TRIES} attempts: {why[:80]}")

    def _read(self, response: httpx.Response) -> Answer:
        try:
            found = self.service.answer(response)
        except (KeyError, IndexError, TypeError, ValueError):
            raise ServiceUnavailable(f"{self.service.name} answered in another form than its documentation's") from None
        if found.score is not None and not 0 <= found.score <= self.service.top:
            raise ServiceUnavailable(f"{self.service.name} answered with a score outside its scale")
        return found

    def _take_turn(self) -> None:
        """Wait for the next moment at which a request is allowed, and count it."""
        if self.sent >= self._bounds.requests:
            raise ServiceRefused(
                f"{self.service.name}: the bound of {self._bounds.requests} requests is reached; "
                f"{len(self.answers.rows)} answers are kept, and the same command goes on from them"
            )
        wait = self._next - self._clock()
        if wait > 0:
            self._sleep(wait)
        self._next = self._clock() + 1 / self._bounds.per_second
        self.sent += 1


def _digest(picture: Picture) -> str:
    """SHA-256 over size and pixels."""
    return hashlib.sha256(repr(picture.shape).encode() + np.ascontiguousarray(picture).tobytes()).hexdigest()


def _png(picture: Picture) -> bytes:
    """A PNG file of at least EDGE pixels a side: small pictures are enlarged, which every service would do itself."""
    image = Image.fromarray(picture)
    scale = EDGE / min(image.size)
    if scale > 1:
        size = round(image.width * scale), round(image.height * scale)
        image = image.resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
