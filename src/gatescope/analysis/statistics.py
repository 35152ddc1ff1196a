"""Statistics over seeds. The unit of every interval is the seed (INSTRUMENTS.md §3, §7).

Sources: t intervals and pairing, any textbook; P(A > B) with 0.75 as its bar, Bouthillier et al. 2021;
interquartile mean, Agarwal et al. 2021; Holm 1979.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.95
ENOUGH_SEEDS = 5
BAR = 0.75
"""The P(A > B) from which a difference is worth a claim (Bouthillier et al. 2021)."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval; `low` and `high` are NaN for one value, all three for none."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def enough(self) -> bool:
        """Whether a verdict may rest on it."""
        return self.n >= ENOUGH_SEEDS


@dataclass(frozen=True)
class Difference:
    """A − B paired by seed. `p` is the paired t test's, two-sided; `seeds` are those that both have."""

    a: str
    b: str
    estimate: Estimate
    p: float
    superiority: float
    seeds: tuple[int, ...]


def mean_interval(values: ArrayLike, level: float = LEVEL) -> Estimate:
    """Mean and t interval over seeds; values that are not finite are left out and not counted."""
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    if len(x) == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    mean = float(x.mean())
    if len(x) == 1:
        return Estimate(mean, math.nan, math.nan, 1)
    half = float(stats.t.ppf((1 + level) / 2, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x)))
    return Estimate(mean, mean - half, mean + half, len(x))


def geometric_interval(values: ArrayLike, level: float = LEVEL) -> Estimate:
    """Geometric mean and its t interval, both taken on logarithms: norms of gradients are log-normal.

    Zeros (underflow) have no logarithm and are left out, as values that are not finite are.
    """
    x = np.asarray(values, dtype=float)
    log = mean_interval(np.log(x[np.isfinite(x) & (x > 0)]), level)
    mean, low, high = (float(np.exp(v)) for v in (log.mean, log.low, log.high))
    return Estimate(mean, low, high, log.n)


def paired_difference(a: pd.Series, b: pd.Series, level: float = LEVEL) -> Difference:
    """A − B over the seeds that both have.

    Args:
        a, b: values indexed by seed; their `name` names the variants.
    """
    both = pd.concat([a, b], axis=1, keys=["a", "b"]).replace([np.inf, -np.inf], np.nan).dropna()
    d = (both.a - both.b).to_numpy(dtype=float)
    seeds = tuple(int(seed) for seed in both.index)
    estimate = mean_interval(d, level)
    return Difference(str(a.name), str(b.name), estimate, _p_value(d), superiority(both.a, both.b), seeds)


def _p_value(d: np.ndarray) -> float:
    if len(d) < 2:
        return math.nan
    error = d.std(ddof=1) / math.sqrt(len(d))
    if error == 0:
        return 1.0 if d[0] == 0 else 0.0
    return float(2 * stats.t.sf(abs(d.mean()) / error, len(d) - 1))


def superiority(a: ArrayLike, b: ArrayLike) -> float:
    """P(A > B): share of pairs in which A is greater, ties counting half. NaN for no pair."""
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return float(np.mean((x > y) + 0.5 * (x == y))) if len(x) else math.nan


def interquartile_mean(
    scores: ArrayLike, level: float = LEVEL, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Mean of the middle half of all scores, with a bootstrap interval stratified by task.

    Args:
        scores: (seeds, tasks).
    """
    x = np.asarray(scores, dtype=float)
    x = x[:, None] if x.ndim == 1 else x
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(x), size=(resamples, *x.shape))
    drawn = np.take_along_axis(x[None], rows, axis=1).reshape(resamples, -1)
    low, high = np.quantile(stats.trim_mean(drawn, 0.25, axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(stats.trim_mean(x, 0.25, axis=None)), float(low), float(high), len(x))


def holm(p: Sequence[float]) -> list[float]:
    """P values adjusted for their family (Holm 1979), in the order given. A NaN stays and does not count."""
    adjusted, running = [math.nan] * len(p), 0.0
    known = sorted((value, place) for place, value in enumerate(p) if not math.isnan(value))
    for rank, (value, place) in enumerate(known):
        running = max(running, min(1.0, (len(known) - rank) * value))
        adjusted[place] = running
    return adjusted


def verdict(difference: Difference, adjusted_p: float, higher_is_better: bool = True) -> str:
    """What may be said of A against B: "not enough seeds", "no difference beyond seeds", "ahead", "behind".

    Ahead or behind needs `ENOUGH_SEEDS` paired seeds, an adjusted p below 1 − LEVEL, and P(A > B) past `BAR`.
    """
    if not difference.estimate.enough:
        return "not enough seeds"
    above = difference.estimate.mean > 0
    share = difference.superiority if above else 1 - difference.superiority
    if not adjusted_p < 1 - LEVEL or share < BAR:
        return "no difference beyond seeds"
    return "ahead" if above == higher_is_better else "behind"


def missing_cells(runs: pd.DataFrame, values: Iterable[float] | None = None) -> list[tuple[str, str, int]]:
    """The (variant, condition, seed) of the full grid for which there is no finite value.

    Args:
        runs: a row a run with variant, condition, seed; `values` in the same order (default: all present).
    """
    cells = list(zip(runs.variant, runs.condition, runs.seed, strict=True))
    finite = [True] * len(cells) if values is None else [math.isfinite(v) for v in values]
    have = {cell for cell, ok in zip(cells, finite, strict=True) if ok}
    axes = [sorted(set(axis)) for axis in zip(*cells, strict=True)]
    return [cell for cell in product(*axes) if cell not in have] if cells else []
