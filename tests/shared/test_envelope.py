"""Sealed messages: what opens, what does not, and that every failure looks the same."""

import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.envelope import (
    ID_BYTES,
    WRAPPED_BYTES,
    Keyring,
    PrivateKey,
    PublicKey,
    read_secret,
    recipients_of,
    seal,
    write_secret,
)
from shared.errors import EnvelopeError, KeyFileError

CONTEXT = "ddsr/v1|hide|0123"
# Made by this module on 2026-11-23 with the private key 01 02 .. 20 (hex): guards the format against changes.
VECTOR_KEY = bytes(range(1, 33))
VECTOR = (Path(__file__).parent / "envelope_v1.hex").read_text(encoding="ascii").strip()


def ring(count: int = 1) -> Keyring:
    return Keyring([PrivateKey.generate() for _ in range(count)])


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=2000), st.text(max_size=60))
def test_round_trip(data: bytes, context: str) -> None:
    keys = ring()
    assert keys.open(seal(data, keys.public_keys, context), context) == data


def test_opens_a_stored_envelope() -> None:
    keys = Keyring([PrivateKey(VECTOR_KEY)])
    assert keys.open(bytes.fromhex(VECTOR), CONTEXT) == b"a stored envelope"


def test_every_recipient_can_open_and_nobody_else() -> None:
    one, two, other = ring(), ring(), ring()
    sealed = seal(b"face", [*one.public_keys, *two.public_keys], CONTEXT)
    assert one.open(sealed, CONTEXT) == two.open(sealed, CONTEXT) == b"face"
    assert recipients_of(sealed) == [one.current.public.id, two.current.public.id]
    assert one.can_open(sealed)
    assert not other.can_open(sealed)
    with pytest.raises(EnvelopeError):
        other.open(sealed, CONTEXT)


def test_context_is_bound() -> None:
    keys = ring()
    sealed = seal(b"face", keys.public_keys, CONTEXT)
    for context in ("ddsr/v1|recover|0123", "ddsr/v1|hide|0124", ""):
        with pytest.raises(EnvelopeError):
            keys.open(sealed, context)


def test_damage_anywhere_gives_the_one_error() -> None:
    keys = ring(2)
    sealed = seal(b"face", keys.public_keys, CONTEXT)
    messages = set()
    for place in range(len(sealed)):
        broken = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        if place in range(2, 2 + ID_BYTES):
            continue  # an unknown key id leaves the second recipient; tested below
        with pytest.raises(EnvelopeError) as caught:
            keys.open(broken, CONTEXT)
        messages.add(str(caught.value))
        assert caught.value.__cause__ is None
    for end in range(len(sealed)):
        with pytest.raises(EnvelopeError) as caught:
            keys.open(sealed[:end], CONTEXT)
        messages.add(str(caught.value))
    assert len(messages) == 1


def test_header_is_bound_even_where_it_is_not_read() -> None:
    keys = ring(2)
    sealed = bytearray(seal(b"face", keys.public_keys, CONTEXT))
    sealed[2] ^= 1
    with pytest.raises(EnvelopeError):
        keys.open(bytes(sealed), CONTEXT)


def test_overhead_and_freshness() -> None:
    keys = ring()
    one, two = (seal(bytes(1000), keys.public_keys, CONTEXT) for _ in range(2))
    assert len(one) == 1000 + 2 + ID_BYTES + WRAPPED_BYTES + 16
    assert one != two


def test_rotation_on_disk(tmp_path: Path) -> None:
    keys = Keyring.load_or_create(tmp_path / "keys")
    old = keys.current.public
    sealed = seal(b"face", [old], CONTEXT)
    new = keys.rotate()
    again = Keyring.load_or_create(tmp_path / "keys")
    assert again.current.public == new != old
    assert again.open(sealed, CONTEXT) == b"face"
    again.destroy(old.id)
    with pytest.raises(EnvelopeError):
        Keyring.load_or_create(tmp_path / "keys").open(sealed, CONTEXT)
    with pytest.raises(KeyFileError):
        again.destroy(new.id)


def test_first_start_makes_private_files(tmp_path: Path) -> None:
    first = Keyring.load_or_create(tmp_path / "keys")
    again = Keyring.load_or_create(tmp_path / "keys")
    assert first.current.public == again.current.public
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    files = list((tmp_path / "keys").iterdir())
    assert [path.name for path in files] == ["0001.key"]
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o400


def test_key_files_are_checked(tmp_path: Path) -> None:
    Keyring.load_or_create(tmp_path)
    (tmp_path / "0001.key").chmod(0o640)
    with pytest.raises(KeyFileError, match="0600"):
        Keyring.load_or_create(tmp_path)
    (tmp_path / "0001.key").chmod(0o600)
    (tmp_path / "0001.key").write_text("nonsense")
    with pytest.raises(KeyFileError, match="damaged"):
        Keyring.load_or_create(tmp_path)


def test_a_secret_file_is_never_overwritten(tmp_path: Path) -> None:
    write_secret(tmp_path / "secret", "one")
    with pytest.raises(FileExistsError):
        write_secret(tmp_path / "secret", "two")
    assert read_secret(tmp_path / "secret") == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_derived_values_differ_by_label_and_key() -> None:
    one, two = PrivateKey.generate(), PrivateKey.generate()
    values = {one.derive("a"), one.derive("b"), two.derive("a")}
    assert len(values) == 3
    assert one.derive("a") in values


def test_public_key_text() -> None:
    key = PrivateKey.generate().public
    assert PublicKey.from_text(key.to_text() + "\n") == key
    for text in ("", "00", "zz" * 32):
        with pytest.raises(EnvelopeError):
            PublicKey.from_text(text)
