"""What the codecs of scheme `sealed` make of a face within a budget of bytes: PSNR, and seconds of a core."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from figures.fidelity import decibels
from shared.diffusion.codecs import avif, learned, squared_error

Pixels = NDArray[np.uint8]

BUDGETS = (120, 160, 200, 300, 450, 600, 800, 1050, 1800, 2900)


def _avif(face: Pixels, budget: int) -> bytes | None:
    code = avif.encode(face, budget)
    return None if code is None else code.data


CODECS: dict[str, tuple[Callable[[Pixels, int], bytes | None], Callable[[bytes], Pixels | None], int]] = {
    "learned": (learned.encode, learned.decode, 1800),
    "avif": (_avif, lambda code: avif.decode(code, learned.SIZE), 10**6),
}  # encoder, decoder, largest budget worth trying


def rows_of(faces: Sequence[Pixels]) -> list[tuple[str, ...]]:
    """Every codec at every budget over faces, uint8 (128, 128, 3): codec, budget, how many faces fit, and means over
    these: PSNR in dB, bytes, milliseconds of a code and of a face."""
    return [_row(codec, budget, faces) for budget in BUDGETS for codec in CODECS if budget <= CODECS[codec][2]]


def _row(codec: str, budget: int, faces: Sequence[Pixels]) -> tuple[str, ...]:
    encode, decode, _ = CODECS[codec]
    found = []
    for face in faces:
        started = time.perf_counter()
        code = encode(face, budget - 1)  # the first byte says which codec it is
        coded = time.perf_counter()
        back = None if code is None else decode(code)
        if code is not None and back is not None:
            times = coded - started, time.perf_counter() - coded
            found.append((decibels(squared_error(back, face) / face.size), 1 + len(code), *(1000 * t for t in times)))
    quality, size, *milliseconds = np.mean(found, 0) if found else np.full(4, np.nan)
    figures = f"{quality:.2f}", f"{size:.0f}", *(f"{one:.0f}" for one in milliseconds)
    return codec, str(budget), f"{len(found)} of {len(faces)}", *figures
