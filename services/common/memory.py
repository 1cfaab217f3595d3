"""Memory that goes back to the system."""

import ctypes
import sys

_M_MMAP_THRESHOLD = -3  # of <malloc.h>
_LARGE = 2**20  # bytes


def give_back_large_blocks() -> None:
    """Make the C library map every block of 1 MiB and more by itself, so that freeing it gives it back at once.

    A picture is decoded into blocks of 16 MiB. After the first of them glibc takes blocks of that size from heaps of
    its own, one for every thread, which keep them: eight threads that decoded a telephone's picture each held 500 MiB
    for good, and 36 with this. Does nothing where the C library is another.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _LARGE)
