"""`ddsr keys`: look at, rotate and destroy the key files of a worker or a service.

A process reads its keys at start: restart it after `rotate`. Destroy the old key once what was sealed to it has
expired; that is the real deletion of it, wherever copies of the ciphertext may lie.
"""

from pathlib import Path
from typing import Annotated

import typer

from shared.envelope import Keyring
from shared.errors import DdsrError, KeyFileError

Folder = Annotated[
    Path, typer.Argument(help="Folder of key files, such as DDSR_WORKER_KEYS.", exists=True, file_okay=False)
]


def register(app: typer.Typer) -> None:
    """Add `ddsr keys show | rotate | destroy`."""
    keys = typer.Typer(help="Key files of a worker or a service.", no_args_is_help=True)

    @keys.command()
    def show(folder: Folder) -> None:
        """List key ids and public keys, the current one last."""
        for key in _load(folder).public_keys:
            print(key.id, key.to_text())

    @keys.command()
    def rotate(folder: Folder) -> None:
        """Add a new current key."""
        print(_load(folder).rotate().id)

    @keys.command()
    def destroy(folder: Folder, key_id: Annotated[str, typer.Argument(help="Id of an old key.")]) -> None:
        """Delete an old key for ever."""
        keyring = _load(folder)
        if key_id not in {key.id for key in keyring.public_keys}:
            raise _refused(KeyFileError("there is no such key"))
        try:
            keyring.destroy(key_id)
        except DdsrError as error:
            raise _refused(error) from None

    app.add_typer(keys, name="keys")


def _load(folder: Path) -> Keyring:
    """The keys of a folder; a folder without any is refused, for the keyring would make one in it."""
    try:
        if not any(folder.glob("*.key")):
            raise KeyFileError(f"{folder} holds no key (*.key); a worker or a service makes its first one at start")
        return Keyring.load_or_create(folder)
    except DdsrError as error:
        raise _refused(error) from None


def _refused(error: DdsrError) -> typer.Exit:
    typer.echo(error.detail, err=True)
    return typer.Exit(1)
