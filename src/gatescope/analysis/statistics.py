"""Statistics over seeds. The unit of every interval is the seed (INSTRUMENTS.md §3, §7).

Sources: t intervals and pairing, any textbook; P(A > B) with 0.75 as its bar, Bouthillier et al. 2021;
interquartile mean, Agarwal et al. 2021; Holm 1979; tuning curves, Dodge et al. 2019, Tang et al. 2020.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special, stats

LEVEL = 0.95
ENOUGH_SEEDS = 5
BAR = 0.75
"""The P(A > B) from which a difference is worth a claim (Bouthillier et al. 2021)."""
NO_SPREAD = "no spread over seeds"
"""The verdict where all seeds agree to rounding: their spread says nothing about other seeds."""
ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Relative to the values: a standard deviation below is rounding of float32 metrics, no spread."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    `low` and `high` are NaN for one value and for values without spread, from which no interval follows (one
    of no width would cover nothing); all three are NaN for no value.
    """

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
    """A − B paired by seed.

    `p` is the paired t test's, two-sided: NaN where there is none, with fewer than two pairs or with
    differences that are all alike and not 0; 1 where all are 0. `values`: by seed that both have.
    """

    a: str
    b: str
    estimate: Estimate
    p: float
    superiority: float
    seeds: tuple[int, ...]
    values: tuple[float, ...]


def mean_interval(values: ArrayLike, level: float = LEVEL) -> Estimate:
    """Mean and t interval over seeds; values that are not finite are left out and not counted."""
    table = mean_intervals(np.asarray(values, dtype=float).reshape(1, -1), level)
    mean, low, high, n = table.iloc[0]
    return Estimate(float(mean), float(low), float(high), int(n))


def mean_intervals(values: ArrayLike, level: float = LEVEL) -> pd.DataFrame:
    """`mean_interval` of each row at once.

    Args:
        values: (N, seeds).

    Returns:
        N rows: mean, low, high, n.
    """
    x = np.asarray(values, dtype=float)
    x = np.where(np.isfinite(x), x, np.nan)
    n = np.sum(np.isfinite(x), axis=1)
    filled = np.nan_to_num(x)
    mean = np.where(n > 0, filled.sum(1) / np.maximum(n, 1), np.nan)
    squares = np.where(np.isfinite(x), (filled - np.nan_to_num(mean)[:, None]) ** 2, 0.0).sum(1)
    error = np.sqrt(squares / np.maximum(n - 1, 1) / np.maximum(n, 1))
    half = np.array([_t_quantile(int(k), level) for k in n]) * error
    half[np.sqrt(squares / np.maximum(n - 1, 1)) <= ROUNDING * np.abs(filled).max(1, initial=0.0)] = np.nan
    return pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half, "n": n})


@cache
def _t_quantile(n: int, level: float) -> float:
    """Of Student's t for n values; NaN where one value gives no interval."""
    return float(stats.t.ppf((1 + level) / 2, n - 1)) if n > 1 else math.nan


def geometric_interval(values: ArrayLike, level: float = LEVEL) -> Estimate:
    """Geometric mean and its t interval, both taken on logarithms: norms of gradients are log-normal.

    Zeros (underflow) have no logarithm and are left out, as values that are not finite are.
    """
    table = geometric_intervals(np.asarray(values, dtype=float).reshape(1, -1), level)
    mean, low, high, n = table.iloc[0]
    return Estimate(float(mean), float(low), float(high), int(n))


def geometric_intervals(values: ArrayLike, level: float = LEVEL) -> pd.DataFrame:
    """`geometric_interval` of each row, (N, seeds), at once: mean, low, high, n."""
    x = np.asarray(values, dtype=float)
    positive = np.isfinite(x) & (x > 0)
    table = mean_intervals(
        np.log(np.where(positive, x, 1.0), out=np.full_like(x, np.nan), where=positive), level
    )
    table[["mean", "low", "high"]] = np.exp(table[["mean", "low", "high"]])
    return table


def paired_difference(a: pd.Series, b: pd.Series, level: float = LEVEL) -> Difference:
    """A − B over the seeds that both have.

    Args:
        a, b: values indexed by seed; their `name` names the variants.
    """
    both = pd.concat([a, b], axis=1, keys=["a", "b"]).replace([np.inf, -np.inf], np.nan).dropna()
    d = (both.a - both.b).to_numpy(dtype=float)
    seeds = tuple(int(seed) for seed in both.index)
    scale = float(np.abs(both.to_numpy(dtype=float)).max(initial=0.0))
    estimate, p = mean_interval(d, level), _p_value(d, scale)
    if math.isnan(p):
        estimate = Estimate(estimate.mean, math.nan, math.nan, estimate.n)
    return Difference(str(a.name), str(b.name), estimate, p, superiority(both.a, both.b), seeds, tuple(d))


def _p_value(d: np.ndarray, scale: float) -> float:
    """Of the t test that the mean of `d` is 0; `scale`: size of the values whose differences these are."""
    if len(d) < 2:
        return math.nan
    if d.std(ddof=1) <= ROUNDING * scale:
        return 1.0 if abs(d.mean()) <= ROUNDING * scale else math.nan
    error = d.std(ddof=1) / math.sqrt(len(d))
    return float(2 * stats.t.sf(abs(d.mean()) / error, len(d) - 1))


def superiority(a: ArrayLike, b: ArrayLike) -> float:
    """P(A > B): share of pairs in which A is greater, ties counting half. NaN for no pair."""
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return float(np.mean((x > y) + 0.5 * (x == y))) if len(x) else math.nan


def interquartile_mean(
    scores: ArrayLike, level: float = LEVEL, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Mean of the middle half of all scores, with a bootstrap interval stratified by task.

    The plain percentile interval covers 90 % instead of 95 % at 5 seeds and 4 tasks; the percentiles are
    therefore moved outwards (Hesterberg 2015, expanded percentile interval). NaN bounds for one seed.

    Args:
        scores: (seeds, tasks).
    """
    x = np.asarray(scores, dtype=float)
    x = x[:, None] if x.ndim == 1 else x
    n, tasks = x.shape
    mean = float(stats.trim_mean(x, 0.25, axis=None))
    if n == 1:
        return Estimate(mean, math.nan, math.nan, 1)
    rng = np.random.default_rng(seed)
    rows = rng.integers(n, size=(resamples, n, tasks))
    drawn = np.take_along_axis(x[None], rows, axis=1).reshape(resamples, -1)
    degrees = tasks * (n - 1)
    tail = stats.norm.cdf(math.sqrt(n / (n - 1)) * stats.t.ppf((1 - level) / 2, degrees))
    low, high = np.quantile(stats.trim_mean(drawn, 0.25, axis=1), [tail, 1 - tail])
    return Estimate(mean, float(low), float(high), n)


def expected_best(scores: ArrayLike) -> np.ndarray:
    """Expected best validation score after k = 1 … n tuning trials, without bias (Tang et al. 2020).

    The mean of the greatest over all sets of k of the n trials; Dodge et al. 2019 draw with replacement,
    which is biased downwards. For a score that should be low, negate it before and after.

    Args:
        scores: (n,).

    Returns:
        (n,), entry k − 1 for k trials.
    """
    x = np.sort(np.asarray(scores, dtype=float))
    n = len(x)
    rank, trials = np.arange(1, n + 1)[None], np.arange(1, n + 1)[:, None]
    # The i-th smallest is the greatest in C(i − 1, k − 1) of the C(n, k) sets.
    return (special.comb(rank - 1, trials - 1) / special.comb(n, trials)) @ x


def holm(p: Sequence[float]) -> list[float]:
    """P values adjusted for their family (Holm 1979), in the order given. A NaN stays and does not count."""
    adjusted, running = [math.nan] * len(p), 0.0
    known = sorted((value, place) for place, value in enumerate(p) if not math.isnan(value))
    for rank, (value, place) in enumerate(known):
        running = max(running, min(1.0, (len(known) - rank) * value))
        adjusted[place] = running
    return adjusted


def verdict(difference: Difference, adjusted_p: float, higher_is_better: bool = True) -> str:
    """What may be said of A against B: "not enough seeds", "no spread over seeds",
    "no difference beyond seeds", "ahead", "behind".

    No spread: the differences are all alike and not 0, so that there is no t test.
    Ahead or behind needs `ENOUGH_SEEDS` paired seeds, an adjusted p below 1 − LEVEL, and P(A > B) past `BAR`.
    """
    if not difference.estimate.enough:
        return "not enough seeds"
    if math.isnan(difference.p):
        return NO_SPREAD
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
