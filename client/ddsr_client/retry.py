"""How often, how long and until when to try again. No clock and no sleep of its own."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from ddsr_client.errors import ClientError, Problem


@dataclass(frozen=True)
class Retry:
    """Exponential backoff with full jitter: try k waits between 0 and min(first * 2**k, longest) seconds.

    A `Retry-After` of the service is a lower bound of the pause; the jitter comes on top, so that many clients
    do not come back in the same moment. `Retry(tries=0)` never tries again.
    """

    tries: int = 6
    first: float = 0.5
    longest: float = 20.0

    def pause(self, done: int, error: ClientError, rng: random.Random) -> float | None:
        """Seconds to wait before the next try, when `done` were made beyond the first; None to give up."""
        if not error.retryable or done >= self.tries:
            return None
        jitter = rng.uniform(0, min(self.first * 2.0 ** min(done, 30), self.longest))
        asked = error.retry_after if isinstance(error, Problem) else None
        return (asked or 0.0) + jitter


class Deadline:
    """The end of one call; `None` seconds: never."""

    def __init__(self, seconds: float | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = float("inf") if seconds is None else clock() + seconds

    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self._end - self._clock())


def parse_retry_after(text: str | None, now: float) -> float | None:
    """Seconds from a `Retry-After` (RFC 9110, 10.2.3), which may be a date; None without a usable one.

    Args:
        now: seconds since the epoch.
    """
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except ValueError:
        return None
