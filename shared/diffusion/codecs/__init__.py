"""Face <-> bytes: of the codecs here, the one that gives the most faithful face within a budget of bytes.

    first byte: codec (upper six bits), size of the face (lower two: SIZES); then what the codec wrote

The code is not protected by itself: `shared.diffusion.payload` seals it. The first byte and the length are checked
before a codec sees the rest.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.diffusion.codecs import avif
from shared.errors import BrokenPicture, ChannelTooPoor, InvalidOption

Pixels = NDArray[np.uint8]

SIZES = (128, 160, 192, 256)
MAX_CODE = 65536  # bytes
_AVIF, _AVIF_FILE, _LEARNED = range(3)  # the learned codec's weights are part of it: other weights, another number
_LANCZOS = Image.Resampling.LANCZOS
_LEARNED_MOST = 500  # bytes for a face of 128 px; with more, AVIF is better (`ddsr eval codecs`)


def encode_face(face: Pixels, budget: int) -> bytes:
    """The code of a face, uint8 (S, S, 3) with S of SIZES, at the highest PSNR that `budget` bytes hold.

    Raises:
        InvalidOption: another size. ChannelTooPoor: no codec gets the face into the budget.
    """
    if face.dtype != np.uint8 or face.shape not in [(size, size, 3) for size in SIZES]:
        raise InvalidOption(f"a face must be square, its side one of {', '.join(map(str, SIZES))} px")
    candidates = [code for code in (_learned_code(face, budget), _avif_code(face, budget)) if code is not None]
    if not candidates:
        raise ChannelTooPoor
    return max(candidates, key=lambda code: -squared_error(decode_face(code), face))


def decode_face(code: bytes) -> Pixels:
    """The face of a code, uint8 (S, S, 3).

    Raises:
        BrokenPicture: no code of a face, a damaged one, or one of a codec that this version does not have.
    """
    if not 1 < len(code) <= MAX_CODE:
        raise BrokenPicture("the code of the face has an impossible length")
    codec, size = code[0] >> 2, SIZES[code[0] & 3]
    if codec not in _DECODERS:
        raise BrokenPicture("the face is in a codec that this version does not have")
    face = _DECODERS[codec](code[1:], size)
    if face is None:
        raise BrokenPicture("the code of the face is damaged")
    return face


def squared_error(one: Pixels, other: Pixels) -> int:
    """Sum of squared differences in grey levels."""
    return int(np.square(one.astype(np.int64) - other).sum())


def _avif_code(face: Pixels, budget: int) -> bytes | None:
    found = avif.encode(face, budget - 1)
    return None if found is None else _header(_AVIF_FILE if found.whole else _AVIF, len(face)) + found.data


def _learned_code(face: Pixels, budget: int) -> bytes | None:
    """Of a face larger than the codec's own size, the code of its reduction."""
    if budget > _LEARNED_MOST * (len(face) / SIZES[0]) ** 2:
        return None
    from shared.diffusion.codecs import learned

    found = learned.encode(_resized(face, learned.SIZE), budget - 1)
    return None if found is None else _header(_LEARNED, len(face)) + found


def _learned_face(data: bytes, size: int) -> Pixels | None:
    from shared.diffusion.codecs import learned

    face = learned.decode(data)
    return None if face is None else _resized(face, size)


def _resized(face: Pixels, size: int) -> Pixels:
    return face if len(face) == size else np.asarray(Image.fromarray(face).resize((size, size), _LANCZOS))


def _header(codec: int, size: int) -> bytes:
    return bytes([codec << 2 | SIZES.index(size)])


_DECODERS: Mapping[int, Callable[[bytes, int], Pixels | None]] = {
    _AVIF: avif.decode,
    _AVIF_FILE: avif.decode_file,
    _LEARNED: _learned_face,
}
