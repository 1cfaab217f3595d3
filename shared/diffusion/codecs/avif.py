"""AVIF without its container: the frame of AV1 alone, which the container's 289 bytes are put around again.

The container and AV1's sequence header depend on the size alone, as long as the encoder is the one of the pinned
Pillow. Whether they do is checked at every encoding: a file that `container` does not rebuild byte by byte is sent
whole, so every version's code can be read. Boxes: ISO/IEC 14496-12, 23008-12 and the AV1 image format 1.1.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Pixels = NDArray[np.uint8]

SEQUENCES = {
    128: "093819bfff65010d0690",
    160: "09381de7e7d9404341a4",
    192: "09381defefd9404341a4",
    256: "09381dffffd9404341a4",
}  # AV1 sequence header without its type: profile 1 (4:4:4), 8 bits, full range, sides of at most the size
COARSEST = 63  # quantiser of libaom, 0 to 63
# Speed 4 costs .1 dB against speed 2 and takes a quarter of its time; speed 8 finds about where to look.
SPEED, GLANCE = 4, 8
TRIES = 3


@dataclass(frozen=True)
class Code:
    """`data` is a frame, or where `whole` the file as the encoder wrote it."""

    data: bytes
    whole: bool


def encode(face: Pixels, budget: int) -> Code | None:
    """The finest code of a face, uint8 (S, S, 3), that `budget` bytes hold; None where even the coarsest does not."""
    picture, best = Image.fromarray(face), None
    quantiser = _glance(picture, budget)
    for tried in range(COARSEST + 1):
        code = _code(_written(picture, quantiser, SPEED), len(face))
        fits = len(code.data) <= budget
        if fits and (best is None or len(code.data) > len(best.data)):
            best = code
        if (best is not None) != fits or not 0 <= quantiser + (-1 if fits else 1) <= COARSEST:
            break  # the finest that fits has been passed, or there is none further
        if best is not None and tried >= TRIES - 1:
            break
        quantiser += -1 if fits else 1
    return best


def decode(frame: bytes, size: int) -> Pixels | None:
    """The face of a frame, uint8 (size, size, 3), or None where it is damaged."""
    return decode_file(container(frame, size), size)


def decode_file(data: bytes, size: int) -> Pixels | None:
    """The same from a whole file."""
    try:
        with Image.open(io.BytesIO(data), formats=["AVIF"]) as picture:
            if picture.size != (size, size) or getattr(picture, "n_frames", 1) != 1:
                return None
            return np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, RuntimeError, EOFError, SyntaxError):
        return None


def container(frame: bytes, size: int) -> bytes:
    """The file that holds a frame: `ftyp`, `meta` and `mdat`, as libavif 1.4 writes them."""
    sequence = bytes.fromhex(SEQUENCES[size])
    data = b"\x12\0" + b"\x0a" + sequence + b"\x32" + _leb128(len(frame)) + frame
    head = _box(b"ftyp", b"avif", bytes(4), b"avifmif1miafMA1A")
    start = len(head) + len(_meta(size, 0, 0)) + 8
    return head + _meta(size, start, len(data)) + _box(b"mdat", data)


def _glance(picture: Image.Image, budget: int) -> int:
    """By bisection with the fast encoder, about the finest quantiser that fits; its small frames are larger."""
    low, high, room = 0, COARSEST, 0.95 * budget + 50
    while low < high:
        middle = (low + high) // 2
        if len(_written(picture, middle, GLANCE)) - len(container(b"", picture.width)) <= room:
            high = middle
        else:
            low = middle + 1
    return low


def _written(picture: Image.Image, quantiser: int, speed: int) -> bytes:
    """The file of an encoder with one thread, which is deterministic, tuned for squared error."""
    file = io.BytesIO()
    quality = round(100 * (COARSEST - quantiser) / COARSEST)
    picture.save(
        file,
        "AVIF",
        quality=quality,
        speed=speed,
        subsampling="4:4:4",
        max_threads=1,
        advanced={"tune": "psnr"},
    )
    return file.getvalue()


def _code(file: bytes, size: int) -> Code:
    """The frame, if the file is what `container` makes of it, else the file."""
    for length in _frame_lengths(len(file) - len(container(b"", size)) + 1):
        frame = file[len(file) - length :]
        if container(frame, size) == file:
            return Code(frame, whole=False)
    return Code(file, whole=True)


def _frame_lengths(rest: int) -> Iterator[int]:
    """Lengths of a frame which, with their own LEB128, make `rest` bytes."""
    return (rest - width for width in (1, 2, 3) if rest > width and len(_leb128(rest - width)) == width)


def _leb128(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def _meta(size: int, start: int, length: int) -> bytes:
    """One picture `av01` of `length` bytes at `start`, with its properties."""
    place = struct.pack(">HHHHHII", 0x4400, 1, 1, 0, 1, start, length)
    entry = _box(b"infe", b"\x02\0\0\0", struct.pack(">HH", 1, 0), b"av01Color\0")
    properties = _box(
        b"ipco",
        _box(b"ispe", bytes(4), struct.pack(">II", size, size)),
        _box(b"pixi", bytes(4), b"\x03\x08\x08\x08"),
        _box(b"av1C", b"\x81\x20\0\0"),
        _box(b"colr", b"nclx", struct.pack(">HHHB", 1, 13, 6, 128)),
    )
    used = _box(b"ipma", bytes(4), struct.pack(">IHB", 1, 1, 4), b"\x01\x02\x83\x04")
    return _box(
        b"meta",
        bytes(4),
        _box(b"hdlr", bytes(8), b"pict", bytes(13)),
        _box(b"pitm", bytes(4), b"\0\x01"),
        _box(b"iloc", bytes(4), place),
        _box(b"iinf", bytes(4), b"\0\x01", entry),
        _box(b"iprp", properties, used),
    )
