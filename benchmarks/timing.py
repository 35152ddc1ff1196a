"""Paired timings in one process: A, B, B, A, …, so that a busy machine affects both sides equally."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Way = Callable[[], object]


@dataclass(frozen=True)
class Ratio:
    """Median and quartiles over rounds of the paired ratio, and the median seconds of each side."""

    median: float
    low: float
    high: float
    rounds: int
    seconds_over: float
    seconds_under: float


def interleaved(
    ways: Mapping[str, Way], rounds: int, warm_up: int = 1, in_a_row: int = 1
) -> dict[str, np.ndarray]:
    """Time functions in turn; the order is reversed in every other round.

    Args:
        ways: The functions, by name.
        rounds: Number of rounds.
        warm_up: Number of rounds that are not timed.
        in_a_row: Number of consecutive calls of a function in a round. If it is more than one, a call that is
            not timed precedes them: a short function then finds its own data in the caches, as in training,
            and not that of another function.

    Returns:
        Seconds of each function, (rounds · in_a_row,).
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
    """Return the ratio of the seconds of two functions, (rounds,) each, computed round by round."""
    low, median, high = np.quantile(over / under, [0.25, 0.5, 0.75])
    middle = float(np.median(over)), float(np.median(under))
    return Ratio(float(median), float(low), float(high), len(over), *middle)
