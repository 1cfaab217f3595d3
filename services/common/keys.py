"""API keys: made here, shown once, stored as hashes.

A key is 32 random bytes, so that one SHA-256 stores it safely: there is nothing to guess. `python -m
services.common.keys NAME` prints a new key and the line to store. A job belongs to the NAME of the key that
made it, so two lines of one name let a key be replaced without losing its jobs. A line that ends in `:metrics`
holds a key that opens /metrics and nothing else.
"""

import hashlib
import hmac
import re
import secrets
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from services.common.settings import ServiceSettings

_LINE = re.compile(r"(?P<name>[A-Za-z0-9_.-]{1,64}):sha256:(?P<digest>[0-9a-f]{64})(?P<metrics>:metrics)?")
Entry = tuple[str, bytes]


@dataclass(frozen=True)
class ApiKeys:
    """Names and SHA-256 digests of the valid keys; empty where none are asked for.

    `entries` are callers, `scrapers` may read /metrics only.
    """

    entries: tuple[Entry, ...] = ()
    scrapers: tuple[Entry, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.entries or self.scrapers)

    def owner(self, presented: str) -> str | None:
        """Name of the presented caller's key, or None; the time does not depend on which entry matches."""
        return _find(self.entries, presented)

    def scraper(self, presented: str) -> str | None:
        """Name of the presented key, if it opens /metrics only."""
        return _find(self.scrapers, presented)


def load_keys(settings: ServiceSettings) -> ApiKeys:
    """Keys of the settings and of their file.

    Raises:
        ValueError: a line is malformed (its text is not repeated: it could be a key in the clear).
    """
    lines = list(settings.api_keys)
    if settings.api_keys_file is not None:
        lines += _lines(settings.api_keys_file)
    found = [_entry(number, line) for number, line in enumerate(lines, 1)]
    callers, scrapers = (tuple(entry for entry, only in found if only is which) for which in (False, True))
    return ApiKeys(callers, scrapers)


def new_key(name: str, *, metrics: bool = False) -> tuple[str, str]:
    """A fresh key and the line that stores it. `metrics`: for /metrics only."""
    key = "ddsr_" + secrets.token_urlsafe(32)
    line = f"{name}:sha256:{hashlib.sha256(key.encode()).hexdigest()}" + (":metrics" if metrics else "")
    _entry(1, line)
    return key, line


def _lines(path: Path) -> Iterable[str]:
    for line in path.read_text("utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text:
            yield text


def _find(entries: tuple[Entry, ...], presented: str) -> str | None:
    digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
    found: str | None = None
    for name, stored in entries:
        if hmac.compare_digest(digest, stored):
            found = name
    return found


def _entry(number: int, line: str) -> tuple[Entry, bool]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"API key entry {number} is not of the form name:sha256:<64 hex digits>[:metrics]")
    return (match["name"], bytes.fromhex(match["digest"])), match["metrics"] is not None


def main(arguments: list[str]) -> int:
    """Print a new key and its line."""
    if arguments[1:] not in ([], ["metrics"]) or not arguments:
        sys.stderr.write("usage: python -m services.common.keys NAME [metrics]\n")
        return 2
    key, line = new_key(arguments[0], metrics=len(arguments) > 1)
    sys.stdout.write(f"key (shown this once): {key}\nline for DDSR_API_KEYS_FILE: {line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
