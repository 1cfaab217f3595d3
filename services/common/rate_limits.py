"""Rate limits by the library `limits`, counted in Redis so that replicas share them."""

import math
import time
from typing import Literal

import redis
from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from services.common.problems import RateLimited
from services.common.settings import ServiceSettings
from shared.jobs.connection import explain

KEY_PREFIX = "ddsr:limits"
Purpose = Literal["submit", "poll"]


class RateLimits:
    """One limit for submissions and one for the rest, by owner."""

    def __init__(self, connection: redis.Redis, settings: ServiceSettings) -> None:
        texts = {"submit": settings.rate_limit, "poll": settings.poll_limit}
        self._items: dict[str, RateLimitItem] = {name: parse(text) for name, text in texts.items() if text}
        storage = RedisStorage("redis://", connection_pool=connection.connection_pool, key_prefix=KEY_PREFIX)
        self._limiter = SlidingWindowCounterRateLimiter(storage)

    def check(self, purpose: Purpose, owner: str) -> None:
        """Count one request; blocking.

        Raises:
            RateLimited: the owner is over its limit (`retry_after` holds the seconds).
            QueueUnavailable, QueueFull: Redis does not answer, or cannot count.
        """
        item = self._items.get(purpose)
        if item is None:
            return
        try:
            allowed = self._limiter.hit(item, purpose, owner)
            reset = None if allowed else self._limiter.get_window_stats(item, purpose, owner).reset_time
        except redis.RedisError as error:
            raise explain(error) from None
        if reset is not None:
            raise too_many(item, reset - time.time())


def too_many(item: RateLimitItem, seconds: float) -> RateLimited:
    """The refusal, with the seconds until the window has room."""
    error = RateLimited(f"no more than {item}")
    error.retry_after = max(1, math.ceil(seconds))
    return error
