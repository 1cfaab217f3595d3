"""Waiting for another process: look, look again, give up."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(look: Callable[[], T], enough: Callable[[T], object] = bool, seconds: float = 30) -> T:
    """Look until it is enough, and give what was seen. Raises AssertionError after `seconds`, with the last look."""
    deadline = time.monotonic() + seconds
    while not enough(found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not so after {seconds:g} s: {found!r}")
        time.sleep(0.02)
    return found
