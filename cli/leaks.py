"""Looks for secrets in what a stack leaves behind: every key of Redis, its append-only file, logs, temporary
files.

A secret counts as found in the clear, and inside base64 or zlib, also nested: RQ keeps tracebacks as base64
of zlib, which hides nothing.
"""

import base64
import binascii
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
_ZLIB_HEADS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_DEPTH = 3
_LONGEST = 64 * 2**20  # bytes that a zlib stream may give


def redis_items(client: Any) -> Iterator[tuple[str, bytes]]:
    """Every key, field and value of a Redis, whatever its type. `client` returns bytes."""
    for key in client.scan_iter(count=1000):
        name = key.decode(errors="replace")
        yield f"redis key {name}", key
        kind = client.type(key).decode()
        if kind == "string":
            parts = [client.get(key)]
        elif kind == "hash":
            parts = [part for pair in client.hgetall(key).items() for part in pair]
        elif kind == "list":
            parts = client.lrange(key, 0, -1)
        elif kind == "set":
            parts = client.smembers(key)
        elif kind == "zset":
            parts = client.zrange(key, 0, -1)
        else:  # a stream
            parts = [part for _, fields in client.xrange(key) for pair in fields.items() for part in pair]
        for part in parts:
            if part is not None:  # the key may have expired since
                yield f"redis {kind} {name}", part


def file_items(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every ordinary file under a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield str(path.relative_to(folder)), path.read_bytes()


def search(items: Iterable[tuple[str, bytes]], secrets: Mapping[str, bytes]) -> list[str]:
    """One line for each find: which secret, and where. `secrets` maps names to bytes of at least 6."""
    if any(len(secret) < 6 for secret in secrets.values()):
        raise ValueError("a shorter secret would be found by chance")
    found = []
    for place, data in items:
        for layer, content in _layers(data, _DEPTH):
            found += [f"{name} in {place}{layer}" for name, secret in secrets.items() if secret in content]
    return sorted(set(found))


def _layers(data: bytes, depth: int) -> Iterator[tuple[str, bytes]]:
    yield "", data
    if depth == 0:
        return
    for match in _BASE64.finditer(data):
        for text in _decoded(match.group()):
            for layer, content in _layers(text, depth - 1):
                yield f" (base64{layer})", content
    for head in _ZLIB_HEADS:
        start = data.find(head)
        while start >= 0:
            if content := _inflated(memoryview(data)[start:]):
                for layer, inner in _layers(content, depth - 1):
                    yield f" (zlib{layer})", inner
            start = data.find(head, start + 1)


def _decoded(text: bytes) -> Iterator[bytes]:
    """All four alignments: a run may begin with other characters of the alphabet."""
    body = text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    for start in range(4):
        part = body[start:]
        part = part[: len(part) - (len(part) % 4 == 1)]
        try:
            yield base64.b64decode(part + b"=" * (-len(part) % 4))
        except binascii.Error:
            continue


def _inflated(data: memoryview) -> bytes:
    """What a zlib stream gives before it ends or breaks; nothing when it is none."""
    engine = zlib.decompressobj()
    parts = []
    total = 0
    for start in range(0, len(data), 1024):  # piecewise, so that what comes before a break is kept
        try:
            part = engine.decompress(data[start : start + 1024], _LONGEST)
        except zlib.error:
            break
        parts.append(part)
        total += len(part)
        if engine.eof or total > _LONGEST:
            break
    return b"".join(parts)
