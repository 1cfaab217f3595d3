"""Structured logs: one JSON object a line on standard error, with ids, stages and seconds; never content."""

import logging
import sys
from typing import Any

import structlog

Log = structlog.typing.FilteringBoundLogger
_QUIET = ("diffusers", "transformers", "httpx", "urllib3", "PIL", "torch", "filelock")


class _StandardError:
    """Whatever standard error is at the time of writing."""

    def msg(self, message: str) -> None:
        sys.stderr.write(message + "\n")

    debug = info = warning = error = msg


def make_log(service: str, level: str) -> Log:
    """A logger of its own, with no process-wide configuration behind it."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    log: Log = structlog.wrap_logger(
        _StandardError(),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
    )
    return log.bind(service=service)


class _Forward(logging.Handler):
    """What libraries log, in our form; of an exception its type and place, for its text may quote the input."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        write(record.getMessage(), logger=record.name, **(where(error) if error else {}))


def configure_libraries(service: str) -> None:
    """Send what libraries log through standard `logging`, from warnings up, to standard error in our form."""
    root = logging.getLogger()
    root.handlers[:] = [_Forward(make_log(service, "warning"))]
    root.setLevel(logging.WARNING)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)


def where(error: BaseException) -> dict[str, Any]:
    """Type and place of an unforeseen error; its text stays out, for it may quote the input."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    line = f"{place.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{place.tb_lineno}" if place else "unknown"
    return {"error": type(error).__name__, "at": line}
