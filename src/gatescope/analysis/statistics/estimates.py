"""Means and their t intervals over seeds or folds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.95
"""Confidence level of intervals; 1 − LEVEL is the significance level of tests."""
LEVEL_TEXT = f"{LEVEL:.0%}".replace("%", " %")
"""The confidence level as reports write it."""
MIN_SEEDS = 5
"""Fewest paired seeds from which a verdict is drawn."""
ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Standard deviations up to this fraction of the values are rounding errors of float32 metrics, no spread."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its confidence interval.

    Attributes:
        mean: NaN without a finite value.
        low: lower bound; NaN for fewer than two values, and for values without spread, which determine no
            interval.
        high: upper bound; NaN where `low` is.
        n: number of finite values.
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def has_enough_seeds(self) -> bool:
        """Whether `n` reaches `MIN_SEEDS`."""
        return self.n >= MIN_SEEDS


@dataclass(frozen=True)
class ItemVariance:
    """How far a mean over a test set varies with the items of the test set.

    Attributes:
        variance: of the mean: the variance over items of their contribution (a mean over seeds), divided by
            `count`.
        count: number of items N.
    """

    variance: float
    count: int


def mean_interval(values: ArrayLike, level: float = LEVEL, overlap: float = 0.0) -> Estimate:
    """Compute the mean and its t interval.

    Args:
        values: one value per seed or fold, shape (seeds,). Values that are not finite are ignored.
        level: confidence level.
        overlap: ratio of test to other examples, for folds.
    """
    return _only_row(mean_intervals(np.asarray(values, dtype=float).reshape(1, -1), level, overlap))


def mean_intervals(values: ArrayLike, level: float = LEVEL, overlap: float = 0.0) -> pd.DataFrame:
    """Compute the mean and its t interval of every row.

    Args:
        values: shape (rows, seeds). Values that are not finite are ignored.
        level: confidence level.
        overlap: ratio of test to other examples, for folds.

    Returns:
        One row per row of `values`: mean, low, high, n, as in `Estimate`.
    """
    x = np.asarray(values, dtype=float)
    finite = np.isfinite(x)
    n = finite.sum(axis=1)
    filled = np.where(finite, x, 0.0)
    mean = np.where(n > 0, filled.sum(1) / np.maximum(n, 1), np.nan)
    squares = np.where(finite, (filled - np.nan_to_num(mean)[:, None]) ** 2, 0.0).sum(1)
    deviation = np.sqrt(squares / np.maximum(n - 1, 1))
    # Without degrees of freedom or without a spread there is no interval.
    degrees = np.where(n > 1, n - 1, np.nan)
    no_spread = deviation <= ROUNDING * np.abs(filled).max(1, initial=0.0)
    error = np.where(no_spread, np.nan, deviation / np.sqrt(np.maximum(n, 1)) * np.sqrt(1 + n * overlap))
    low, high = stats.t.interval(level, degrees, loc=mean, scale=error)
    return pd.DataFrame({"mean": mean, "low": low, "high": high, "n": n})


def geometric_interval(values: ArrayLike, level: float = LEVEL) -> Estimate:
    """Compute the geometric mean and its t interval on logarithms, as for gradient norms (log-normal).

    Args:
        values: one value per seed, shape (seeds,). Values that are not finite and positive are ignored: a
            norm that underflowed to 0 has no logarithm.
        level: confidence level.
    """
    return _only_row(geometric_intervals(np.asarray(values, dtype=float).reshape(1, -1), level))


def geometric_intervals(values: ArrayLike, level: float = LEVEL, overlap: float = 0.0) -> pd.DataFrame:
    """Compute `geometric_interval` of every row.

    Args:
        values: shape (rows, seeds).
        level: confidence level.
        overlap: ratio of test to other examples, for folds.

    Returns:
        One row per row of `values`: mean, low, high, n, as in `Estimate`.
    """
    x = np.asarray(values, dtype=float)
    positive = np.isfinite(x) & (x > 0)
    table = mean_intervals(
        np.log(np.where(positive, x, 1.0), out=np.full_like(x, np.nan), where=positive), level, overlap
    )
    table[["mean", "low", "high"]] = np.exp(table[["mean", "low", "high"]])
    return table


def _only_row(table: pd.DataFrame) -> Estimate:
    mean, low, high, n = table.iloc[0]
    return Estimate(float(mean), float(low), float(high), int(n))


def summarize(table: pd.DataFrame, level: float = LEVEL, overlap: float = 0.0) -> pd.DataFrame:
    """Compute the mean and its t interval of every column.

    Args:
        table: a row per seed or fold, a column per variant.
        level: confidence level.
        overlap: ratio of test to other examples, for folds.

    Returns:
        One row per variant: mean, low, high, n, as in `Estimate`.
    """
    return mean_intervals(table.to_numpy(dtype=float).T, level, overlap).set_index(table.columns)


def standard_error(
    variance: float, n: int, items: ItemVariance | None = None, overlap: float = 0.0
) -> tuple[float, float]:
    """Return the standard error of a mean over seeds and test items, and its degrees of freedom.

    Args:
        variance: over seeds, or over folds.
        n: number of seeds, or of folds.
        items: variance over test items, which more seeds do not reduce.
        overlap: ratio of test to other examples, for folds.

    Returns:
        The degrees of freedom are those of Satterthwaite (1946) for the sum of both variances.
    """
    parts = [
        (variance / n * (1 + n * overlap), n - 1),
        (items.variance, items.count - 1) if items else (0.0, 1),
    ]
    total = sum(part for part, _ in parts)
    # Divided first: the squares of tiny variances would underflow.
    shares = [((part / total) ** 2, degrees) for part, degrees in parts if part > 0]
    return math.sqrt(total), 1 / sum(share / degrees for share, degrees in shares)
