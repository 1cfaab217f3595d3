"""`ddsr up`: Redis, worker, sender and receiver on this machine, in the foreground, with one log."""

import functools
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from shared.settings import StackSettings
from stack.stack import Stack
from stack.supervisor import StartError


def register(app: typer.Typer) -> None:
    """Add `ddsr up`."""

    @app.command()
    def up(
        state: Annotated[Path | None, typer.Option(help="Folder of keys and Redis data; else DDSR_STATE.")] = None,
        host: Annotated[str | None, _option("host", "Address of both services")] = None,
        sender_port: Annotated[int | None, _option("sender_port", "Port of POST /hide")] = None,
        receiver_port: Annotated[int | None, _option("receiver_port", "Port of POST /recover")] = None,
        workers: Annotated[int | None, _option("workers", "Worker processes")] = None,
        metrics_port: Annotated[
            int | None, _option("metrics_port", "Prometheus port of the first worker, 0: none")
        ] = None,
    ) -> None:
        """Run Redis, worker, sender and receiver in the foreground until Ctrl-C."""
        given = {
            "state": state,
            "host": host,
            "sender_port": sender_port,
            "receiver_port": receiver_port,
            "workers": workers,
            "metrics_port": metrics_port,
        }
        raise typer.Exit(run(_settings({name: value for name, value in given.items() if value is not None})))


def _option(name: str, words: str) -> Any:
    """An option without a default of its own, which would beat the environment; the help shows the setting's."""
    default = StackSettings.model_fields[name].default
    return typer.Option(help=f"{words}; else DDSR_{name.upper()}.", show_default=str(default))


def _settings(given: dict[str, Any]) -> StackSettings:
    """The options given, and the environment for the rest. Raises typer.BadParameter for a value that is none."""
    try:
        settings = StackSettings(**given)
    except ValidationError as error:
        names = ", ".join(str(part) for item in error.errors() for part in item["loc"])
        raise typer.BadParameter(f"no value for {names}, given as an option or as DDSR_ variable") from None
    return settings.model_copy(update={"state": settings.state.absolute()})  # Redis starts in a folder of its own


def run(settings: StackSettings, **stack_options: Any) -> int:
    """`ddsr up` itself: 0 after a signal, 3 when a part does not start."""
    stack = Stack(settings, sys.stdout, redis_url=os.environ.get("REDIS_URL"), **stack_options)
    say = functools.partial(stack.supervisor.say, "ddsr")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stack.supervisor.stopping.set())
    try:
        stack.start()
        say(f"page: {stack.sender_url}/")
        say(f"hide: POST {stack.sender_url}/hide   recover: POST {stack.receiver_url}/recover   Ctrl-C ends")
        stack.supervisor.watch()
        say("stopping")
        return 0
    except StartError as error:
        if stack.supervisor.stopping.is_set():
            return 0
        say(str(error))
        return 3
    finally:
        stack.stop()
