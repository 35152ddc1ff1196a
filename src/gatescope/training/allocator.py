"""Pages that a step has freed stay with the process for the next one."""

from __future__ import annotations

import ctypes
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
BLOCK = 32 << 20
"""Bytes up to which glibc serves a block from its heap; it takes no larger number."""
KEPT = 512 << 20
"""Free bytes at the heap's end that it gives back to the system."""


@cache
def keep_freed_pages() -> bool:
    """Whether the C library does so from now on; only glibc can.

    By default it gives a step's activations back to the system and takes them again at the next one, a page
    fault for every 4 KiB: a quarter of an epoch's time, for the first epochs of a small network.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, BLOCK) and mallopt(M_TRIM_THRESHOLD, KEPT))
