"""Structured logs: one JSON object a line on standard error, with ids, stages and seconds; never content."""

import logging
import sys
from typing import Any, TextIO

import structlog

Log = structlog.typing.FilteringBoundLogger


def make_log(service: str, level: str, stream: TextIO | None = None) -> Log:
    """A logger of its own, with no process-wide configuration behind it."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(stream or sys.stderr),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
    )
    return log.bind(service=service)


def where(error: BaseException) -> dict[str, Any]:
    """Type and place of an unforeseen error; its text stays out, for it may quote the input."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    line = f"{place.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{place.tb_lineno}" if place else "unknown"
    return {"error": type(error).__name__, "at": line}
