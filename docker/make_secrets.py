"""Secrets of the compose stack, made at its first start and kept in volumes.

`make_secrets.py` makes what is missing; `make_secrets.py show` prints the API key of the caller. Nothing is
printed otherwise. Folders, each a volume of its own:

    redis/   password (0600, for services and worker), redis.conf (0640, for Redis by its group)
    api/     api.keys: name and SHA-256 of the caller's key, for the services
    caller/  api.key: the key itself (0600), for nobody but `show`
"""

import os
import secrets
import sys
from pathlib import Path

from services.common.keys import new_key
from shared.envelope import read_secret, write_secret

FOLDER = Path("/var/lib/ddsr")
TEMPLATE = Path(__file__).with_name("redis.conf")
CALLER = "compose"


def make(folder: Path, template: Path) -> None:
    """Make the secrets that are missing; Redis' configuration is written anew, with the password of before."""
    password = folder / "redis" / "password"
    if not password.exists():
        write_secret(password, secrets.token_hex(32) + "\n")
    text = template.read_text("utf-8") + f"requirepass {read_secret(password)}\n"
    _replace(folder / "redis" / "redis.conf", text, 0o640)
    caller, stored = folder / "caller" / "api.key", folder / "api" / "api.keys"
    if not (caller.exists() and stored.exists()):
        key, line = new_key(CALLER)
        caller.unlink(missing_ok=True)
        write_secret(caller, key + "\n")
        kept = stored.read_text("utf-8").splitlines() if stored.exists() else []
        lines = [old for old in kept if not old.startswith(f"{CALLER}:")] + [line]
        _replace(stored, "\n".join(lines) + "\n", 0o640)


def _replace(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        os.fchmod(handle, mode)
        stream.write(text)
    draft.replace(path)


def main(arguments: list[str], folder: Path = FOLDER, template: Path = TEMPLATE) -> int:
    """0; 2 for any other argument than `show`."""
    if arguments == ["show"]:
        sys.stdout.write(read_secret(folder / "caller" / "api.key") + "\n")
        return 0
    if arguments:
        sys.stderr.write("usage: make_secrets.py [show]\n")
        return 2
    make(folder, template)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
