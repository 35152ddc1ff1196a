"""Confidence intervals of metrics, on the scale on which each metric can vary.

A t interval of an accuracy of 0.99 would end above 1, and an interval over seeds that share one test set does
not say how far another test set would lie. Both are handled here:

- A proportion (accuracy, F1) is between 0 and 1. Its interval is computed on logits by the delta method.
- A loss is positive. Its interval is computed on logarithms by the delta method.
- A correlation is between −1 and 1. Its interval is computed on Fisher's z by the delta method.
- Where the predictions are known, the variance of the mean over the items of the test set is added to that
  over seeds; the degrees of freedom follow from Satterthwaite's formula (1946).
- At 0, at 1 and without any spread, a proportion has the interval of Clopper & Pearson (1934).

docs/statistics.md has the formulas and their simulated coverage.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special, stats

from gatescope.analysis.statistics import (
    LEVEL,
    ROUNDING,
    Estimate,
    ItemVariance,
    mean_interval,
    mean_intervals,
    standard_error,
)

Values = Any
"""A number or an array of them."""
Scale = Literal["proportion", "positive", "correlation", "real"]
"""Where a metric can vary: between 0 and 1, above 0, between −1 and 1, or anywhere."""

PROPORTIONS = ("accuracy", "f1", "exact_match", "solved", "precision", "recall")
POSITIVE = (
    "loss",
    "nll",
    "bpc",
    "perplexity",
    "mse",
    "mae",
    "rmse",
    "error_rate",
    "brier",
    "seconds",
    "wrong",
)
"""Words at the end of a metric's name by which its scale is known; a name with none of them is real."""
BOUNDS: dict[Scale, tuple[float, float]] = {
    "proportion": (0.0, 1.0),
    "positive": (0.0, math.inf),
    "correlation": (-1.0, 1.0),
    "real": (-math.inf, math.inf),
}
SMALLEST = 1e-150
"""A mean that is nearer to an end of its scale than this is at the end: a division by it could overflow."""


def scale_of(metric: str) -> Scale:
    """Return the scale of a metric by its name, such as "test/macro_f1"."""
    name = metric.rsplit("/", 1)[-1]
    if name.endswith(PROPORTIONS):
        return "proportion"
    return "positive" if name.endswith(POSITIVE) or name.startswith("seconds") else "real"


def metric_interval(
    values: ArrayLike,
    scale: Scale,
    items: ItemVariance | None = None,
    level: float = LEVEL,
    overlap: float = 0.0,
) -> Estimate:
    """Compute the mean of a metric and its interval.

    Args:
        values: one value per seed, shape (seeds,). Values that are not finite are ignored.
        scale: where the metric can vary.
        items: the variance of the mean over test items; None where the predictions are not known. The
            interval then covers other seeds on the same test set only.
        level: confidence level.
        overlap: ratio of test to other examples, for folds; see `statistics`.

    Returns:
        The mean and an interval within the range of the scale. The interval is NaN where nothing varies.
    """
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    low, high = BOUNDS[scale]
    if not len(x) or x.min() < low or x.max() > high:  # it is not what its name says
        return mean_interval(x, level, overlap)
    mean, n = float(x.mean()), len(x)
    of_seeds = float(x.var(ddof=1)) / n if n > 1 else 0.0
    if math.sqrt(of_seeds * n) <= ROUNDING * float(np.abs(x).max()):
        of_seeds = 0.0
    of_items = items.variance if items else 0.0
    variance = of_seeds + of_items
    at_bound = min(mean - low, high - mean) < SMALLEST
    if scale == "proportion" and (variance == 0 or at_bound):
        return _without_spread(mean, items, n, level)
    if variance == 0 or at_bound:
        return Estimate(mean, math.nan, math.nan, n)
    error, degrees = standard_error(of_seeds * n, n, items, overlap)
    error *= float(stats.t.ppf((1 + level) / 2, degrees))
    bounds = _bounds(np.float64(mean), np.float64(error), scale)
    return Estimate(mean, min(float(bounds[0]), mean), max(float(bounds[1]), mean), n)


def _bounds(mean: Values, error: Values, scale: Scale) -> tuple[Values, Values]:
    """Return the bounds `error` away from the mean, to first order, within the range of a scale."""
    if scale == "proportion":
        around, width = special.logit(mean), error / (mean * (1 - mean))
        return special.expit(around - width), special.expit(around + width)
    if scale == "positive":
        return mean * np.exp(-error / mean), mean * np.exp(error / mean)
    if scale == "correlation":
        around, width = np.arctanh(mean), error / (1 - mean**2)
        return np.tanh(around - width), np.tanh(around + width)
    return mean - error, mean + error


def _without_spread(mean: float, items: ItemVariance | None, n: int, level: float) -> Estimate:
    """Return the interval of a proportion that is 0 or 1, or equal in all seeds and items."""
    if items is None:
        return Estimate(mean, math.nan, math.nan, n)
    share = 0.0 if mean < SMALLEST else mean
    low, high = clopper_pearson(share * items.count, items.count, level)
    return Estimate(mean, min(low, mean), max(high, mean), n)


def clopper_pearson(successes: float, trials: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of a proportion by Clopper & Pearson (1934).

    Args:
        successes: number of successes; need not be whole, as an effective number is not.
        trials: number of trials.
        level: confidence level.
    """
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, successes, trials - successes + 1)) if successes > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high


def metric_intervals(
    values: ArrayLike, scale: Scale, level: float = LEVEL, overlap: float = 0.0
) -> pd.DataFrame:
    """Compute `metric_interval` of every row, over seeds alone.

    Args:
        values: shape (rows, seeds).
        scale: where the metric can vary.
        level: confidence level.
        overlap: ratio of test to other examples, for folds.

    Returns:
        One row per row of `values`: mean, low, high, n, as in `Estimate`.
    """
    x = np.asarray(values, dtype=float)
    table = mean_intervals(x, level, overlap)
    low, high = BOUNDS[scale]
    if scale == "real" or not (np.isnan(x) | ((x >= low) & (x <= high))).all():
        return table
    mean, error = table["mean"].to_numpy(), (table.high - table["mean"]).to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = _bounds(mean, error, scale)
    inside = (mean > low) & (mean < high) & np.isfinite(error)
    return table.assign(low=np.where(inside, bounds[0], np.nan), high=np.where(inside, bounds[1], np.nan))
