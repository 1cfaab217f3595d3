"""What every process that sees faces and prompts does at its start."""

import resource
import signal
import sys
from types import FrameType


def no_core_dumps() -> None:
    """A core dump would hold faces and prompts. For this process and those that it starts, for good."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def end_with_zero() -> None:
    """SIGTERM ends this process with 0 as long as nobody else listens to it: while a part gets ready, and when uvicorn,
    at its end, raises the signal again that it has obeyed."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)
