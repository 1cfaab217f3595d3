"""Ids of jobs. To the service that made one, an id says when, of what kind and for whom, so that a job whose record
Redis lost (FLUSHALL, a start without its file) can be told from one that never was. To others all but the time is
random.

32 hex digits: 4 bytes of seconds since the epoch, 8 random ones, 4 of an HMAC under the service's key.
"""

import hmac
import secrets
import struct

from shared.envelope import Keyring, PrivateKey
from shared.jobs.model import KINDS, Kind

_HEAD = 12


def make_id(key: PrivateKey, kind: Kind, owner: str, now: float) -> str:
    """A fresh id. `now` is in seconds since the epoch."""
    head = struct.pack(">I", int(now)) + secrets.token_bytes(_HEAD - 4)
    return (head + _mark(key, kind, owner, head)).hex()


def issued(keys: Keyring, job_id: str, owner: str) -> tuple[Kind, float] | None:
    """Kind and time (seconds since the epoch) of an id that a service with one of these keys made for this owner.

    Forging one takes 2^31 requests, and yields no more than the news of a lost job.
    """
    try:
        raw = bytes.fromhex(job_id)
        (created,) = struct.unpack_from(">I", raw)
    except (ValueError, struct.error):
        return None
    for key in (keys.find(public.id) for public in keys.public_keys):
        for kind in KINDS:
            if hmac.compare_digest(raw[_HEAD:], _mark(key, kind, owner, raw[:_HEAD])):
                return kind, float(created)
    return None


def _mark(key: PrivateKey, kind: Kind, owner: str, head: bytes) -> bytes:
    message = head + f"{kind}|{owner}".encode()
    return hmac.digest(key.derive("ddsr/v1|job-id"), message, "sha256")[:4]
