"""Secrets of the compose stack, made at its first start and kept in volumes.

`make_secrets.py` makes what is missing; `make_secrets.py show` prints the API key of the caller,
`make_secrets.py grafana` the password of Grafana's `admin`. Nothing is printed otherwise. Folders, each a volume of
its own:

    redis/       redis.conf (0440, for Redis by its group; holds hashes of passwords),
                 admin.password and scaler.password (0440), of Redis' users of these names
    redis-*/     password (0400) of Redis' users service and worker
    api/         api.keys: name and SHA-256 of each key, for the services (0640: callers are added to it)
    caller/      api.key: the caller's key (0400), for nobody but `show`
    prometheus/  api.key: a key that opens /metrics only (0440, for Prometheus by its group)
    grafana/     password (0440, for Grafana by its group)
"""

import hashlib
import os
import secrets
import sys
from pathlib import Path

from services.common.keys import new_key

FOLDER = Path("/var/lib/ddsr")
TEMPLATE = Path(__file__).with_name("redis.conf")
CALLER = "compose"
SCRAPER = "prometheus"


def make(folder: Path, template: Path) -> None:
    """Make the secrets that are missing; Redis' configuration is written anew, with the passwords of before."""
    text = template.read_text("utf-8")
    for user, path in passwords(folder).items():
        if not path.exists():
            _replace(path, secrets.token_hex(32), 0o400 if path.parent.name != "redis" else 0o440)
        text = text.replace(f"{{{user}}}", _hashed(path.read_text("utf-8").strip()))
    _replace(folder / "redis" / "redis.conf", text, 0o440)
    stored = folder / "api" / "api.keys"
    _api_key(folder / "caller" / "api.key", stored, CALLER)
    _api_key(folder / "prometheus" / "api.key", stored, SCRAPER, metrics=True)
    grafana = folder / "grafana" / "password"
    if not grafana.exists():
        _replace(grafana, secrets.token_urlsafe(24), 0o440)


def passwords(folder: Path) -> dict[str, Path]:
    """Where the password of each of Redis' users lies: without a line's end, which not every reader strips."""
    own = {user: folder / f"redis-{user}" / "password" for user in ("service", "worker")}
    return own | {user: folder / "redis" / f"{user}.password" for user in ("admin", "scaler")}


def _hashed(password: str) -> str:
    """A password as Redis' users keep it. It is 32 random bytes, so that a plain hash gives nothing away."""
    return "#" + hashlib.sha256(password.encode()).hexdigest()


def _api_key(path: Path, stored: Path, name: str, *, metrics: bool = False) -> None:
    """A key in `path` and its line in `stored`, unless both are there."""
    kept = stored.read_text("utf-8").splitlines() if stored.exists() else []
    others = [line for line in kept if not line.startswith(f"{name}:")]
    if path.exists() and len(others) < len(kept):
        return
    key, line = new_key(name, metrics=metrics)
    _replace(path, key + "\n", 0o440 if metrics else 0o400)
    _replace(stored, "\n".join([*others, line]) + "\n", 0o640)


def _replace(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        os.fchmod(handle, mode)
        stream.write(text)
    draft.replace(path)


def main(arguments: list[str], folder: Path = FOLDER, template: Path = TEMPLATE) -> int:
    """0; 2 for any other argument than `show` and `grafana`."""
    shown = {("show",): folder / "caller" / "api.key", ("grafana",): folder / "grafana" / "password"}
    if (path := shown.get(tuple(arguments))) is not None:
        sys.stdout.write(path.read_text("utf-8").strip() + "\n")
        return 0
    if arguments:
        sys.stderr.write("usage: make_secrets.py [show | grafana]\n")
        return 2
    make(folder, template)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
