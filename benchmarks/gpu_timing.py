"""Timings on a device: CUDA events on a GPU, the wall clock on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch.backends import cudnn

LEAST_CALLS, MOST_CALLS = 3, 20
SECONDS = 0.2
"""How long a function is timed."""


@dataclass(frozen=True)
class Timing:
    """Median and quartiles of the seconds of a call, the number of calls, and the seconds of the first one.

    The first call, which is in none of the other values, compiles kernels and allocates memory.
    """

    median: float
    low: float
    high: float
    calls: int
    first: float

    def columns(self) -> dict[str, float]:
        """Return the values as columns of a table."""
        return {
            "ms": 1e3 * self.median,
            "low_ms": 1e3 * self.low,
            "high_ms": 1e3 * self.high,
            "calls": self.calls,
            "first_s": self.first,
        }


def timed(function: Callable[[], object], device: torch.device) -> Timing:
    """Time a function for about `SECONDS`, after two calls that are not counted."""
    first, second = wall(function, device), wall(function, device)
    calls = int(np.clip(SECONDS / max(second, 1e-9), LEAST_CALLS, MOST_CALLS))
    if device.type == "cuda":
        values = _by_events(function, calls)
    else:
        values = np.array([wall(function, device) for _ in range(calls)])
    low, median, high = (float(value) for value in np.quantile(values, [0.25, 0.5, 0.75]))
    return Timing(median, low, high, calls, first)


def _by_events(function: Callable[[], object], calls: int) -> np.ndarray:
    """Return the seconds of each call between two events on the current stream, (calls,)."""
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(calls)]
    torch.cuda.synchronize()
    for start, end in events:
        start.record()
        function()
        end.record()
    torch.cuda.synchronize()
    return np.array([start.elapsed_time(end) for start, end in events]) / 1e3


def wall(function: Callable[[], object], device: torch.device) -> float:
    """Return the elapsed seconds of a call, until the device has finished."""
    synchronise(device)
    started = time.perf_counter()
    function()
    synchronise(device)
    return time.perf_counter() - started


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 in the products of torch and cuDNN."""
    before = torch.get_float32_matmul_precision()
    flags = {"deterministic": cudnn.deterministic, "allow_tf32": allowed}
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        with cudnn.flags(cudnn.enabled, cudnn.benchmark, **flags):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
