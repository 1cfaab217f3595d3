"""`ddsr`: the one command. Each group of subcommands lives in its own module and is registered here."""

import sys
import traceback
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console

from cli import bench, demo, doctor, evaluate, examples, jobs, keys, passphrase, pictures, services, train, up
from shared.errors import DdsrError, InputError

EXIT_CODES = (
    "Exit codes: 0 done; 1 some input could not be used (the rest was done); 2 wrong usage; "
    "3 the model or the stack failed; 4 an error of the program; 5 the prompt is wrong, or the picture was changed "
    "beyond repair; 130 interrupted."
)

app = typer.Typer(
    help="Hide a face in an innocent picture and get it back.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (pictures, passphrase, up, demo, doctor, jobs, keys, train, evaluate, services, bench):
    module.register(app)
examples.add_examples(app)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ddsr {version('ddsr')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Hide a face in an innocent picture and get it back."""


def main() -> None:
    """Entry point: a deliberate error becomes one line on standard error and an exit code."""
    try:
        app()
    except DdsrError as error:
        Console(stderr=True, highlight=False).print(f"ddsr: {error.detail}", markup=False, soft_wrap=True)
        sys.exit(1 if isinstance(error, InputError) else 3)
    except Exception:
        traceback.print_exc()
        sys.exit(4)


if __name__ == "__main__":
    main()
