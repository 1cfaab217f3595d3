"""Redis as services and workers reach it, and what its errors mean for a caller."""

from typing import Any

import redis
import redis.asyncio

from shared.envelope import read_secret
from shared.errors import KeyFileError, QueueError, QueueFull, QueueUnavailable
from shared.settings import QueueSettings


def open_redis(settings: QueueSettings, **options: Any) -> redis.Redis:
    """A client for `redis_url`, with the password of `redis_password_file` when that is set.

    Raises:
        KeyFileError: of that file; or the address is malformed, most often by a password with / # ? in it.
    """
    client: redis.Redis = _open(redis.Redis, settings, options)
    return client


def open_asyncio_redis(settings: QueueSettings, **options: Any) -> redis.asyncio.Redis:
    """The same for an event loop."""
    client: redis.asyncio.Redis = _open(redis.asyncio.Redis, settings, options)
    return client


def _open(kind: Any, settings: QueueSettings, options: dict[str, Any]) -> Any:
    if settings.redis_password_file is not None:
        options["password"] = read_secret(settings.redis_password_file)
    defaults: dict[str, Any] = {
        "socket_connect_timeout": 2.0,
        "socket_timeout": 10.0,
        "health_check_interval": 15,
    }
    try:
        return kind.from_url(settings.redis_url.get_secret_value(), **{**defaults, **options})
    except ValueError:  # its text may quote a part of the password
        raise KeyFileError("REDIS_URL cannot be read; escape its password, or use DDSR_REDIS_PASSWORD_FILE") from None


def remedy(error: redis.RedisError) -> str:
    """One line for the log: what Redis refused, and what to do. Never its own text, which may quote values."""
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
        return "Redis refuses the user or the password: compare REDIS_URL and DDSR_REDIS_PASSWORD_FILE with its users"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return "Redis lets this user do less than it needs: compare REDIS_URL with the users of its configuration"
    if isinstance(error, redis.exceptions.OutOfMemoryError):
        return "Redis is full: raise its maxmemory, or lower DDSR_RESULT_TTL"
    if "MISCONF" in str(error):
        return "Redis cannot write its file: free its disk, then see that it writes again"
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return "Redis does not answer: look at its log and its disk, at REDIS_URL and at the network"
    return f"Redis refuses a command: {type(error).__name__}"


def explain(error: redis.RedisError) -> QueueError:
    """What an error of Redis means for a caller."""
    if isinstance(error, redis.ReadOnlyError):
        return QueueUnavailable("Redis is a read-only replica")
    if isinstance(error, redis.OutOfMemoryError):
        return QueueFull("Redis' memory is full")
    if isinstance(error, redis.AuthenticationError):
        return QueueUnavailable("Redis refuses the password")
    if isinstance(error, redis.ResponseError):
        return QueueUnavailable("Redis refuses a command: its log may say why")
    return QueueUnavailable("Redis does not answer")
