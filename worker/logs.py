"""Structured logs of the worker: one JSON object a line on standard error. Ids, stages, seconds; never
content.

Libraries that use standard logging come out in the same form, without their tracebacks' text: an exception's
message may quote its input.
"""

import logging
import sys
from typing import Any

import structlog

Log = structlog.typing.FilteringBoundLogger
_QUIET = ("diffusers", "transformers", "httpx", "urllib3", "PIL", "torch", "filelock")


def configure(level: str) -> Log:
    """Set up logging for this process and give the worker's own logger."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _without_traceback],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    log: Log = structlog.get_logger("ddsr.worker")
    return log


def where(error: BaseException) -> dict[str, Any]:
    """Type and place of an unforeseen error; its text stays out."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    line = f"{place.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{place.tb_lineno}" if place else "unknown"
    return {"error": type(error).__name__, "at": line}


def _without_traceback(logger: Any, name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    record: logging.LogRecord | None = event.get("_record")
    if record is not None and record.exc_info:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        record.exc_info = None
        record.exc_text = None
        event.pop("exc_info", None)
        if error is not None:
            event.update(where(error))
    return event
