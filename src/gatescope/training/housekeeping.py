"""What a step leaves behind: its pages stay for the next one, as they are, and Python looks through less for
garbage."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol

import torch

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


def leave_new_tensors_unfilled() -> None:
    """In its deterministic mode torch writes NaN into memory that an operation is about to fill, so that runs
    agree even if one reads what nobody has written. That costs a fiftieth of a small network's step, and that
    no kernel of ours reads such memory is tested."""
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def older_objects_left_alone() -> Iterator[None]:
    """Python's collector looks through what is made inside, and not again and again through all the modules
    that are loaded: a sixth of an epoch of a small network. Afterwards it looks through everything."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class CountsOverhead(Protocol):
    """What keeps count of the time that it takes beside training."""

    overhead_seconds: float


@contextmanager
def counted_as_overhead(owner: CountsOverhead) -> Iterator[None]:
    """Add the time inside to `owner.overhead_seconds`, which the time of an epoch leaves out.

    On a GPU the work that training has queued before is waited for first, else it would be counted here.
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    started = time.perf_counter()
    try:
        yield
    finally:
        owner.overhead_seconds += time.perf_counter() - started
