"""Sealed messages between services and workers, and the key files behind them.

An envelope is made for one or more public keys, so that any worker of a fleet can open it while each keeps
its own private key:

    version (1 byte, = 1) | recipients n (1 byte) | n x (key id, 8 bytes | wrapped key, 80 bytes) | body

A fresh content key is wrapped for every recipient with HPKE (RFC 9180 base mode; DHKEM(X25519, HKDF-SHA256),
HKDF-SHA256, ChaCha20-Poly1305) with the context as `info`. The body is ChaCha20-Poly1305 (RFC 8439) under the
content key; the nonce is zero because a content key is used once; header and context are its associated data.
Whoever moves an envelope to another job, kind or direction cannot have it opened there.

Base mode does not authenticate the sender: whoever may write to Redis can enqueue work. It cannot read any.

Every failure to open raises the same `EnvelopeError`.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import EnvelopeError, KeyFileError

VERSION = 1
ID_BYTES = 8
WRAPPED_BYTES = 32 + 32 + 16  # encapsulated key, content key, tag
MAX_RECIPIENTS = 255
_NONCE = bytes(12)
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


@dataclass(frozen=True)
class PublicKey:
    """An X25519 public key. `id` is 16 hex digits of its SHA-256; `to_text` is 64 hex digits."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise EnvelopeError("a public key has 32 bytes")

    @property
    def id(self) -> str:
        return hashlib.sha256(self.raw).digest()[:ID_BYTES].hex()

    def to_text(self) -> str:
        return self.raw.hex()

    @classmethod
    def from_text(cls, text: str) -> "PublicKey":
        try:
            return cls(bytes.fromhex(text.strip()))
        except ValueError:
            raise EnvelopeError("a public key is 64 hex digits") from None


class PrivateKey:
    """An X25519 private key; it has no text form and no `repr` of its content."""

    def __init__(self, raw: bytes) -> None:
        try:
            self._key = X25519PrivateKey.from_private_bytes(raw)
        except ValueError:
            raise EnvelopeError("a private key has 32 bytes") from None
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> "PrivateKey":
        return cls(secrets.token_bytes(32))

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        try:
            return _SUITE.decrypt(wrapped, self._key, context)
        except (InvalidTag, ValueError):
            raise EnvelopeError from None

    def derive(self, label: str) -> bytes:
        """32 bytes that only the holder of this key can compute, another value for every label (HKDF, RFC
        5869).
        """
        raw = self._key.private_bytes_raw()
        return HKDF(hashes.SHA256(), 32, salt=None, info=label.encode()).derive(raw)

    def save(self, path: Path) -> None:
        """Write to a new 0400 file; FileExistsError when there is one already."""
        write_secret(path, self._key.private_bytes_raw().hex() + "\n")


def seal(plaintext: bytes, recipients: Sequence[PublicKey], context: str) -> bytes:
    """Seal for every one of `recipients`; opens only under the same `context`."""
    if not 1 <= len(recipients) <= MAX_RECIPIENTS:
        raise EnvelopeError(f"an envelope has 1 to {MAX_RECIPIENTS} recipients")
    info = context.encode()
    content_key = secrets.token_bytes(32)
    head = bytes([VERSION, len(recipients)])
    for recipient in recipients:
        try:
            wrapped = _SUITE.encrypt(content_key, X25519PublicKey.from_public_bytes(recipient.raw), info)
        except ValueError:  # a point of low order, with which everybody shares the same secret
            raise EnvelopeError("a public key cannot be used") from None
        head += bytes.fromhex(recipient.id) + wrapped
    return head + ChaCha20Poly1305(content_key).encrypt(_NONCE, plaintext, head + info)


def recipients_of(envelope: bytes) -> list[str]:
    """Key ids that can open an envelope."""
    return [key_id for key_id, _ in _slots(envelope)]


class Keyring:
    """Several private keys, newest last. The newest is for new messages, all of them open old ones.

    Rotation: `rotate()` adds a key; once the messages under an old key are gone, `destroy()` removes it.
    Destroying a key is the real deletion of what was sealed to it, as ciphertext stays in Redis' append-only
    file until that is rewritten.
    """

    def __init__(self, keys: Iterable[PrivateKey], folder: Path | None = None) -> None:
        self._keys = {key.public.id: key for key in keys}
        self._folder = folder
        if not self._keys:
            raise KeyFileError("a keyring needs a key")

    @classmethod
    def load_or_create(cls, folder: Path) -> "Keyring":
        """Read `*.key` of a folder; the first start makes the folder (0700) and one key (0400).

        Raises:
            KeyFileError: a file is damaged, or others may read it.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths = sorted(folder.glob("*.key"))
        if not paths:
            with contextlib.suppress(FileExistsError):  # another process was first; its key is as good
                PrivateKey.generate().save(folder / "0001.key")
            paths = sorted(folder.glob("*.key"))
        return cls([_load(path) for path in paths], folder)

    @property
    def current(self) -> PrivateKey:
        return list(self._keys.values())[-1]

    @property
    def public_keys(self) -> list[PublicKey]:
        """Oldest first."""
        return [key.public for key in self._keys.values()]

    def find(self, key_id: str) -> PrivateKey:
        """The key of an id; EnvelopeError when it is not here (any more)."""
        try:
            return self._keys[key_id]
        except KeyError:
            raise EnvelopeError from None

    def can_open(self, envelope: bytes) -> bool:
        """Whether one of the recipients is here; says nothing about damage."""
        return any(key_id in self._keys for key_id in recipients_of(envelope))

    def open(self, envelope: bytes, context: str) -> bytes:
        """The plaintext.

        Raises:
            EnvelopeError: always the same, whether the envelope is damaged, for others, or of another
            context.
        """
        info = context.encode()
        slots = _slots(envelope)
        head = envelope[: 2 + len(slots) * (ID_BYTES + WRAPPED_BYTES)]
        for key_id, wrapped in slots:
            if key_id in self._keys:
                content_key = self._keys[key_id].unwrap(wrapped, info)
                try:
                    return ChaCha20Poly1305(content_key).decrypt(_NONCE, envelope[len(head) :], head + info)
                except (InvalidTag, ValueError):
                    raise EnvelopeError from None
        raise EnvelopeError

    def rotate(self) -> PublicKey:
        """Add a new current key, on disk too when the keyring has a folder."""
        key = PrivateKey.generate()
        if self._folder is not None:
            last = max(int(path.stem) for path in self._folder.glob("*.key"))
            key.save(self._folder / f"{last + 1:04d}.key")
        self._keys[key.public.id] = key
        return key.public

    def destroy(self, key_id: str) -> None:
        """Forget an old key for ever. The current one cannot be destroyed."""
        if key_id == self.current.public.id:
            raise KeyFileError("the current key cannot be destroyed; rotate first")
        self.find(key_id)
        del self._keys[key_id]
        for path in self._folder.glob("*.key") if self._folder else ():
            if _load(path).public.id == key_id:
                path.unlink()


def write_secret(path: Path, text: str) -> None:
    """Write a new 0400 file in one step: another process sees the whole of it or nothing.

    Raises:
        FileExistsError: there is such a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, path)
    finally:
        draft.unlink()


def read_secret(path: Path) -> str:
    """Text of a file that nobody else may read.

    Raises:
        KeyFileError: it is missing, or its mode lets group or others in.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise KeyFileError(f"{path.name} may be read by others; its mode must be 0400 or 0600")
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError):
        raise KeyFileError(f"{path.name} cannot be read") from None


def _load(path: Path) -> PrivateKey:
    text = read_secret(path)
    try:
        return PrivateKey(bytes.fromhex(text))
    except (ValueError, EnvelopeError):
        raise KeyFileError(f"{path.name} is damaged") from None


def _slots(envelope: bytes) -> list[tuple[str, bytes]]:
    if len(envelope) < 2 or envelope[0] != VERSION or envelope[1] == 0:
        raise EnvelopeError
    size = ID_BYTES + WRAPPED_BYTES
    end = 2 + envelope[1] * size
    if len(envelope) < end:
        raise EnvelopeError
    slots = [envelope[start : start + size] for start in range(2, end, size)]
    return [(slot[:ID_BYTES].hex(), slot[ID_BYTES:]) for slot in slots]
