"""The payload of scheme `sealed`: the code of the face (`shared.diffusion.codecs`), padded and sealed.

    code, 80, 00 ... 00 --ChaCha20-Poly1305--> exactly as many bytes as the noise code carries

The key is derived for this purpose alone from the key of one hiding (Argon2id over prompt and nonce), so that it seals
one message and the nonce of the cipher can be zero. Associated data are the recipe's public bytes: a payload opens
under its own recipe only. Padding as in ISO/IEC 7816-4; its length, and so that of the code, shows nowhere.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import NotAuthentic

OVERHEAD = 17  # bytes: the tag of Poly1305, and the mark where the padding begins
_PURPOSE = b"ddsr sealed payload 1"
_MARK = b"\x80"


def seal(code: bytes, key: bytes, associated_data: bytes, length: int) -> bytes:
    """`code`, at most `length` - OVERHEAD bytes, as `length` bytes that show nothing of it, not even its length.

    `key` is that of one hiding (`keying.stretch`) and seals once. Raises ValueError where the code does not fit.
    """
    room = length - OVERHEAD
    if len(code) > room:
        raise ValueError(f"a code of {len(code)} bytes does not fit a payload of {length}")
    return _cipher(key).encrypt(bytes(12), code + _MARK + bytes(room - len(code)), associated_data)


def unseal(sealed: bytes, key: bytes, associated_data: bytes) -> bytes:
    """The code that `seal` was given.

    Raises:
        NotAuthentic: another key, other associated data, or any byte altered, missing or added.
    """
    try:
        code, mark, padding = _cipher(key).decrypt(bytes(12), sealed, associated_data).rpartition(_MARK)
    except InvalidTag:
        raise NotAuthentic from None
    if not mark or any(padding):
        raise NotAuthentic
    return code


def _cipher(key: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(key))
