"""What the codecs of scheme `sealed` make of a face within a budget of bytes: PSNR, and seconds of a core."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.diffusion.codecs import avif, learned, squared_error

Pixels = NDArray[np.uint8]

BUDGETS = (120, 160, 200, 300, 450, 600, 800, 1050, 1800, 2900)


@dataclass(frozen=True)
class Row:
    """Means over the faces that fit: PSNR in dB, bytes; `fits` of `faces`; milliseconds of a code and of a face."""

    codec: str
    budget: int
    faces: int
    fits: int
    psnr: float
    size: float
    encode_ms: float
    decode_ms: float


def _avif(face: Pixels, budget: int) -> bytes | None:
    code = avif.encode(face, budget)
    return None if code is None else code.data


CODECS: dict[str, tuple[Callable[[Pixels, int], bytes | None], Callable[[bytes], Pixels | None], int]] = {
    "learned": (learned.encode, learned.decode, 1800),
    "avif": (_avif, lambda code: avif.decode(code, learned.SIZE), 10**6),
}  # encoder, decoder, largest budget worth trying


def measure(faces: Sequence[Pixels], budgets: Sequence[int] = BUDGETS) -> list[Row]:
    """Every codec at every budget over faces, uint8 (128, 128, 3)."""
    return [_row(codec, budget, faces) for budget in budgets for codec in CODECS if budget <= CODECS[codec][2]]


def _row(codec: str, budget: int, faces: Sequence[Pixels]) -> Row:
    encode, decode, _ = CODECS[codec]
    found = []
    for face in faces:
        started = time.perf_counter()
        code = encode(face, budget - 1)  # the first byte says which codec it is
        coded = time.perf_counter()
        back = None if code is None else decode(code)
        if code is not None and back is not None:
            error = squared_error(back, face) / face.size
            times = coded - started, time.perf_counter() - coded
            found.append((10 * np.log10(255**2 / error), 1 + len(code), *(1000 * t for t in times)))
    means = np.mean(found, 0) if found else np.full(4, np.nan)
    return Row(codec, budget, len(faces), len(found), *(float(mean) for mean in means))
