"""A sealed message before it is sealed: named fields and bytes, padded so that its length tells little of a prompt."""

import json
import struct
from collections.abc import Mapping
from typing import Any

from shared.errors import EnvelopeError

PADDING = 1024  # a message has a multiple of this many bytes


def pack(head: dict[str, Any], blob: bytes) -> bytes:
    """Two lengths, JSON, bytes, zeros up to a multiple of PADDING."""
    text = json.dumps(head, separators=(",", ":")).encode()
    data = struct.pack(">II", len(text), len(blob)) + text + blob
    return data + bytes(-len(data) % PADDING)


def unpack(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Inverse of `pack`; EnvelopeError for anything else."""
    try:
        size, length = struct.unpack_from(">II", data)
        head = json.loads(data[8 : 8 + size])
    except (struct.error, ValueError, RecursionError):
        raise EnvelopeError from None
    blob = data[8 + size : 8 + size + length]
    if not isinstance(head, dict) or len(blob) != length:
        raise EnvelopeError
    return head, blob


def typed(head: Mapping[str, Any], kinds: Mapping[str, Any]) -> bool:
    """Whether these fields are there, no others, each of its type; a bool is a number nowhere."""
    return set(head) == set(kinds) and all(
        isinstance(head[name], kind) and (not isinstance(head[name], bool) or kind in (bool, bool | None))
        for name, kind in kinds.items()
    )
