"""Paired differences of two variants."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from gatescope.analysis.statistics.estimates import (
    LEVEL,
    ROUNDING,
    Estimate,
    ItemVariance,
    mean_interval,
    standard_error,
)


@dataclass(frozen=True)
class PairedDifference:
    """The paired comparison of A with B.

    Attributes:
        estimate: mean of A − B over the pairs, with its confidence interval.
        p: two-sided p value of the paired t test. NaN for fewer than two pairs, and for differences that are
            equal in all pairs but not 0; 1 where all differences are 0.
        items: the variance of the difference over test items; None where it is not known.
        superiority: P(A > B), the share of pairs in which A is greater; ties count half.
        seeds: the index of the pairs.
        values: A − B of each pair.
        overlap: ratio of test to other examples of folds; 0 for seeds.
    """

    estimate: Estimate
    p: float
    superiority: float
    seeds: tuple[Hashable, ...]
    values: tuple[float, ...]
    items: ItemVariance | None = None
    overlap: float = 0.0


def paired_difference(
    a: ArrayLike | pd.Series,
    b: ArrayLike | pd.Series,
    level: float = LEVEL,
    items: ItemVariance | None = None,
    overlap: float = 0.0,
) -> PairedDifference:
    """Compare A with B by a paired t test; folds by the corrected resampled t test.

    Args:
        a: one value per seed or fold, shape (seeds,). Two Series are paired by their index (the seed),
            anything else by position. Pairs with a value that is not finite are ignored.
        b: as `a`.
        level: confidence level of the interval.
        items: the variance of the difference over test items, which is added to that over seeds.
        overlap: ratio of test to other examples, for folds.
    """
    both = pd.concat([pd.Series(a, dtype=float), pd.Series(b, dtype=float)], axis=1, keys=["a", "b"])
    both = both.replace([np.inf, -np.inf], np.nan).dropna()
    x, y = both.a.to_numpy(), both.b.to_numpy()
    estimate, p = _paired_t_test(x, y, level, items, overlap)
    pairs = tuple(both.index.tolist())
    return PairedDifference(estimate, p, superiority(x, y), pairs, tuple(x - y), items, overlap)


def _paired_t_test(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    level: float,
    items: ItemVariance | None,
    overlap: float,
) -> tuple[Estimate, float]:
    """Return the mean difference with its interval, and the p value."""
    d = x - y
    if len(d) < 2:
        return mean_interval(d, level), math.nan
    mean, rounding = float(d.mean()), ROUNDING * float(np.abs([x, y]).max())
    has_spread = d.std(ddof=1) > rounding
    if not has_spread and (items is None or items.variance == 0):
        return Estimate(mean, math.nan, math.nan, len(d)), 1.0 if abs(mean) <= rounding else math.nan
    error, degrees = standard_error(float(d.var(ddof=1)) if has_spread else 0.0, len(d), items, overlap)
    width = error * float(stats.t.ppf((1 + level) / 2, degrees))
    p = 2 * float(stats.t.sf(abs(mean) / error, degrees))
    return Estimate(mean, mean - width, mean + width, len(d)), p


def superiority(a: ArrayLike, b: ArrayLike) -> float:
    """Compute P(A > B), the share of pairs in which A is greater; ties count half.

    Args:
        a: shape (pairs,).
        b: shape (pairs,).

    Returns:
        NaN without a pair.
    """
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return float(np.mean((x > y) + 0.5 * (x == y))) if len(x) else math.nan


def with_level(difference: PairedDifference, level: float) -> PairedDifference:
    """Return the comparison with an interval of another level."""
    estimate = difference.estimate
    if math.isnan(estimate.low):
        return difference
    error, degrees = error_with(difference, estimate.n)
    width = error * float(stats.t.ppf((1 + level) / 2, degrees))
    return replace(
        difference, estimate=replace(estimate, low=estimate.mean - width, high=estimate.mean + width)
    )


def error_with(difference: PairedDifference, n: int) -> tuple[float, float]:
    """Return the standard error of the mean difference with n seeds, and its degrees of freedom."""
    variance = float(np.var(difference.values, ddof=1))  # rounding errors where only items vary
    return standard_error(variance, n, difference.items, difference.overlap)
