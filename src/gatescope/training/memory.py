"""Memory of a card or of the machine: what it has, and the largest size of a batch that fits, by trial."""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from gatescope.devices import nvidia_smi

PHRASES = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")
"""Parts of the messages by which torch, CUDA, cuDNN and cuBLAS say that memory is exhausted."""
REFINEMENTS = 3
"""Number of bisections between a size that fits and twice that size."""
MARGIN = 0.05
"""Share of the memory that a size must leave free: other batches may be divided among blocks less well."""
MEMINFO = Path("/proc/meminfo")


class OutOfMemory(RuntimeError):
    """Memory is exhausted; the message contains the phase, a size that fits, and the card's memory."""


@dataclass(frozen=True)
class Fit:
    """The largest size that was tried and fits, 0 if not even 1 does, and the smallest that does not."""

    size: int
    too_large: int


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of a library says that the memory of a card or of the machine is exhausted."""
    if isinstance(error, OutOfMemory):
        return False
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in PHRASES)


def is_of_the_card(error: BaseException) -> bool:
    """Return whether `error`, for which `is_out_of_memory` is true, is about a card's memory."""
    return isinstance(error, RuntimeError) and "CPUAllocator" not in str(error)


def largest_fitting(attempt: Callable[[int], object], size: int, device: torch.device | str) -> Fit:
    """Return the largest size below `size` for which `attempt` does not exhaust the card's memory.

    Sizes are halved until one fits, and then bisected a few times.

    Args:
        attempt: Computes something with a batch of a given size.
        size: A size that did not fit.
        device: The card.
    """
    too_large, fits = size, size // 2
    while fits and not _fits(attempt, fits, device):
        too_large, fits = fits, fits // 2
    for _ in range(REFINEMENTS):
        middle = (fits + too_large) // 2
        if not fits or middle == fits:
            break
        if _fits(attempt, middle, device):
            fits = middle
        else:
            too_large = middle
    release_memory()
    return Fit(fits, too_large)


def _fits(attempt: Callable[[int], object], size: int, device: torch.device | str) -> bool:
    """Return whether an attempt succeeds, and leaves the margin free."""
    release_memory()
    torch.cuda.reset_peak_memory_stats(device)
    try:
        attempt(size)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        free_frames(error)
        return False
    return torch.cuda.max_memory_allocated(device) <= (1 - MARGIN) * usable_memory(device)


def free_frames(error: BaseException) -> None:
    """Free the tensors that the ended frames of an error's traceback still hold, and those of its causes."""
    one: BaseException | None = error
    while one is not None:
        traceback.clear_frames(one.__traceback__)
        one = one.__cause__ or one.__context__


def release_memory() -> None:
    """Return all memory that no tensor uses to the card."""
    gc.collect()
    torch.cuda.empty_cache()


def usable_memory(device: torch.device | str) -> int:
    """Return the bytes of a card that are free or that this process has reserved already."""
    return int(torch.cuda.mem_get_info(device)[0]) + int(torch.cuda.memory_reserved(device))


def card_memory(device: torch.device | str) -> str:
    """Return a sentence on the memory of a card, and on who uses it."""
    free, total = torch.cuda.mem_get_info(device)
    allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    card = torch.cuda.get_device_properties(device)
    others = _processes(str(getattr(card, "uuid", "")))
    listed = f" ({', '.join(others)})" if others else ""
    return (
        f"{card.name} has {gib(total)}: {gib(free)} are free, this run holds {gib(reserved)}, "
        f"of which its tensors take {gib(allocated)}, and CUDA and other processes hold "
        f"{gib(max(0, total - free - reserved))}{listed}"
    )


def _processes(uuid: str) -> list[str]:
    """Return "pid N: M MiB" for each other process on a card, as far as nvidia-smi knows them."""
    lines = nvidia_smi(f"--id=GPU-{uuid}", "--query-compute-apps=pid,used_memory").splitlines()
    rows = [line.split(", ") for line in lines]
    return [f"pid {row[0]}: {row[1]}" for row in rows if len(row) == 2 and row[0] != str(os.getpid())]


def machine_memory() -> str:
    """Return a sentence on the memory of the machine."""
    amounts = dict(line.split(":") for line in MEMINFO.read_text(encoding="utf-8").splitlines())
    total, free = (int(amounts[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    return f"the machine has {gib(total)}: {gib(free)} are available"


def gib(size: float) -> str:
    """Return a number of bytes as GiB, or as MiB if it is less than one."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
