"""Pairs of timings in one process: A, B, B, A …, so that a busy or a throttled machine hits both alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Way = Callable[[], object]


@dataclass(frozen=True)
class Ratio:
    """Median and quartiles over rounds of the paired ratio, and the median seconds of either side."""

    median: float
    low: float
    high: float
    rounds: int
    seconds_over: float
    seconds_under: float


def interleaved(
    ways: Mapping[str, Way], rounds: int, warm_up: int = 1, in_a_row: int = 1
) -> dict[str, np.ndarray]:
    """Seconds of each way, `in_a_row` numbers a round; the order is turned round at every other round.

    Args:
        in_a_row: calls of a way at its turn, where there are several after one that is not timed: a short
            way then finds in the caches what it has left itself, as in training, and not what another way
            has, whose buffers may have pushed everything out.
    """
    for _ in range(warm_up):
        for way in ways.values():
            way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            gc.collect()
            if in_a_row > 1:
                ways[name]()
            seconds[name] += [_seconds(ways[name]) for _ in range(in_a_row)]
    return {name: np.array(values) for name, values in seconds.items()}


def _seconds(way: Way) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def ratio(over: np.ndarray, under: np.ndarray) -> Ratio:
    """Of two ways' seconds, (rounds,) each: over / under, round by round."""
    low, median, high = np.quantile(over / under, [0.25, 0.5, 0.75])
    middle = float(np.median(over)), float(np.median(under))
    return Ratio(float(median), float(low), float(high), len(over), *middle)
