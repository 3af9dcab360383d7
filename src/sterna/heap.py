"""Memory that one step frees is kept for the next, in a process of our own.

glibc gives a block of some megabytes back to the system as soon as it is freed, so every step of training asks for the
same pages again and the system clears them again: fine-tuning a small network on 16 examples means 10,000 to 100,000
such pages a step, dear above all on virtual machines. The most that is held at once stays what it was.
"""

from __future__ import annotations

import ctypes
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # what `mallopt` sets, by their numbers in malloc.h
LARGEST = 1 << 30  # bytes of a block that still comes from what is kept
KEPT = (1 << 31) - 1  # bytes that are kept unused at most, the largest int


def keep() -> bool:
    """Whether this process keeps what it frees from now on; not so where its C library is not glibc."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(
        mallopt(*one) == 1 for one in ((MMAP_THRESHOLD, LARGEST), (TRIM_THRESHOLD, KEPT))
    )
