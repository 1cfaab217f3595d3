"""What a computation is at, said while it is at it: for whoever measures or traces it, without its knowing them.

Where nobody listens, saying it costs nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol

Facts = Mapping[str, str | int]


class Listener(Protocol):
    """Who hears of stages and figures. Facts are names and counts: no prompt, no picture."""

    def stage(self, name: str, facts: Facts) -> AbstractContextManager[None]:
        """Entered and left with the stage. Stages lie within each other."""

    def figure(self, name: str, value: float, facts: Facts) -> None:
        """A number that was found."""


_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """What this thread computes in the block is told to `listener`."""
    before = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(before)


def heard() -> bool:
    return _LISTENER.get() is not None


def stage(name: str, **facts: str | int) -> AbstractContextManager[None]:
    """Say that the block is a stage."""
    listener = _LISTENER.get()
    return nullcontext() if listener is None else listener.stage(name, facts)


def figure(name: str, value: float, **facts: str | int) -> None:
    """Say a number."""
    if (listener := _LISTENER.get()) is not None:
        listener.figure(name, value, facts)
