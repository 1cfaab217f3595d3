"""The progress of tables on standard error."""

import sys
import time
from typing import Any

import typer

EVERY = 60.0  # seconds between two lines where there is no terminal


class Progress:
    """One bar for the table under way; where there is no terminal, a line a table and then one a minute."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._told: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            self._line(what, done, total)
            return
        bar = self._bar or self._start()
        if what not in self._tasks:
            self._tasks[what] = bar.add_task(what, total=total)
        if not bar.live.is_started:
            bar.start()
        bar.update(self._tasks[what], completed=done, total=total)
        if done >= total:
            bar.stop()  # leaves the finished bar on the screen

    def _line(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what in self._told and now - self._told[what] < EVERY and done < total:
            return
        self._told[what] = now
        typer.echo(f"{what}: {done} of {total}", err=True)

    def _start(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns: list[Any] = [TextColumn("{task.description}"), BarColumn()]
        self._bar = Progress(*columns, MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True))
        return self._bar
