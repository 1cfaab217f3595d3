"""`ddsr passphrase`: random words for an identity prompt."""

import math
from typing import Annotated

import typer

FEWEST = 5  # of 7776 words each: 64 bits, out of reach of whoever tries prompts against a stego


def register(app: typer.Typer) -> None:
    """Add `ddsr passphrase` to the command."""
    app.command()(passphrase)


def passphrase(
    words: Annotated[int, typer.Option("--words", min=FEWEST, max=20, help="How many words.")] = FEWEST,
) -> None:
    """Make a pass phrase of random words, to be written after a description of the face.

    The words are of the EFF's long list, chosen by the system's randomness.
    """
    from xkcdpass import xkcd_password as dice

    known = dice.generate_wordlist(dice.locate_wordfile("eff-long"), min_length=1, max_length=99)
    typer.echo(dice.generate_xkcdpassword(known, numwords=words))
    typer.echo(f"{math.floor(words * math.log2(len(known)))} bits", err=True)
