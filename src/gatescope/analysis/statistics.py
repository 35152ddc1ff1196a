"""Statistics of results over seeds, on plain arrays and DataFrames.

One value per seed goes in; means with confidence intervals, paired comparisons and p values adjusted for
multiple comparisons come out. The seed is the unit of every interval. No function here needs a record of a
run, so that they serve results from anywhere:

>>> import pandas as pd
>>> from gatescope.analysis import statistics
>>> accuracy = pd.DataFrame(  # a row per seed, a column per variant
...     {"gru": [0.81, 0.83, 0.80, 0.84, 0.82],
...      "lstm": [0.80, 0.82, 0.80, 0.83, 0.80],
...      "rnn": [0.70, 0.74, 0.71, 0.72, 0.69]},
...     index=[0, 1, 2, 3, 4],
... )
>>> statistics.summarize(accuracy).round(3)
       mean    low   high  n
gru   0.820  0.800  0.840  5
lstm  0.810  0.792  0.828  5
rnn   0.712  0.688  0.736  5
>>> table = statistics.compare_with_reference(accuracy, reference="rnn")
>>> table[["mean", "p", "p_holm", "verdict"]].round(4)
       mean       p  p_holm verdict
gru   0.108  0.0002  0.0002   ahead
lstm  0.098  0.0001  0.0001   ahead
>>> difference = statistics.paired_difference(accuracy["gru"], accuracy["lstm"])
>>> round(difference.estimate.mean, 3), round(difference.p, 4)
(0.01, 0.0341)
>>> statistics.holm([0.01, 0.04, 0.03])
array([0.03, 0.06, 0.06])

Values of the folds of a cross-validation are not independent, as their training sets overlap. `overlap` is
then the ratio of test to other examples, 1 / (k − 1) for k folds, and the variance of a mean of n values is
taken as (1 / n + overlap) · s² (Nadeau & Bengio 2003); 0, the default, is for independent values.

docs/statistics.md explains which method answers which question. Sources: P(A > B) and its threshold of 0.75,
Bouthillier et al. 2021; interquartile mean, Agarwal et al. 2021; adjusted p values, Holm 1979; expected best
of k trials, Dodge et al. 2019 and Tang et al. 2020.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

LEVEL = 0.95
"""Confidence level of intervals; 1 − LEVEL is the significance level of tests."""
LEVEL_TEXT = f"{LEVEL:.0%}".replace("%", " %")
"""The confidence level as reports write it."""
MIN_SEEDS = 5
"""Fewest paired seeds from which a verdict is drawn."""
SUPERIORITY_THRESHOLD = 0.75
"""Least P(A > B) of a difference that is claimed (Bouthillier et al. 2021)."""
ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Standard deviations up to this fraction of the values are rounding errors of float32 metrics, no spread."""

AHEAD = "ahead"
BEHIND = "behind"
NO_DIFFERENCE = "no significant difference"
NO_SPREAD = "no spread over seeds"
TOO_FEW_SEEDS = "not enough seeds"


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
class PairedDifference:
    """The paired comparison of A with B.

    Attributes:
        estimate: mean of A − B over the pairs, with its confidence interval.
        p: two-sided p value of the paired t test. NaN for fewer than two pairs, and for differences that are
            equal in all pairs but not 0; 1 where all differences are 0.
        superiority: P(A > B), the share of pairs in which A is greater; ties count half.
        seeds: the index of the pairs.
        values: A − B of each pair.
    """

    estimate: Estimate
    p: float
    superiority: float
    seeds: tuple[Hashable, ...]
    values: tuple[float, ...]


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
    error = np.where(no_spread, np.nan, deviation / np.sqrt(np.maximum(n, 1)) * _widening(n, overlap))
    low, high = stats.t.interval(level, degrees, loc=mean, scale=error)
    return pd.DataFrame({"mean": mean, "low": low, "high": high, "n": n})


def _widening(n: Any, overlap: float) -> Any:
    """Return the factor of a standard error that is due to overlapping training sets: 1 without overlap."""
    return np.sqrt(1 + n * overlap)


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


def paired_difference(
    a: ArrayLike | pd.Series, b: ArrayLike | pd.Series, level: float = LEVEL, overlap: float = 0.0
) -> PairedDifference:
    """Compare A with B by a paired t test; for folds, by the corrected resampled t test.

    Args:
        a: one value per seed or fold, shape (seeds,). Two Series are paired by their index (the seed),
            anything else by position. Pairs with a value that is not finite are ignored.
        b: as `a`.
        level: confidence level of the interval.
        overlap: ratio of test to other examples, for folds.
    """
    both = pd.concat([pd.Series(a, dtype=float), pd.Series(b, dtype=float)], axis=1, keys=["a", "b"])
    both = both.replace([np.inf, -np.inf], np.nan).dropna()
    x, y = both.a.to_numpy(), both.b.to_numpy()
    estimate, p = _paired_t_test(x, y, level, overlap)
    return PairedDifference(estimate, p, superiority(x, y), tuple(both.index.tolist()), tuple(x - y))


def _paired_t_test(
    x: NDArray[np.float64], y: NDArray[np.float64], level: float, overlap: float
) -> tuple[Estimate, float]:
    """Return the mean difference with its interval, and the p value."""
    d = x - y
    if len(d) < 2:
        return mean_interval(d, level), math.nan
    rounding = ROUNDING * float(np.abs([x, y]).max())
    if d.std(ddof=1) <= rounding:
        if abs(d.mean()) <= rounding:
            return mean_interval(d, level), 1.0
        return Estimate(float(d.mean()), math.nan, math.nan, len(d)), math.nan
    if overlap:
        t = d.mean() / (d.std(ddof=1) / math.sqrt(len(d)) * _widening(len(d), overlap))
        return mean_interval(d, level, overlap), float(2 * stats.t.sf(abs(t), len(d) - 1))
    test = stats.ttest_rel(x, y)
    low, high = test.confidence_interval(level)
    return Estimate(float(d.mean()), float(low), float(high), len(d)), float(test.pvalue)


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


def compare_with_reference(
    table: pd.DataFrame,
    reference: str,
    higher_is_better: bool = True,
    level: float = LEVEL,
    overlap: float = 0.0,
) -> pd.DataFrame:
    """Compare every column with the reference column; all comparisons form one family (Holm 1979).

    Args:
        table: a row per seed or fold, a column per variant. A NaN marks a missing result.
        reference: name of the column that the others are compared with.
        higher_is_better: direction of the metric.
        level: confidence level of the intervals.
        overlap: ratio of test to other examples, for folds.

    Returns:
        One row per other variant: mean, low, high, n (of variant − reference), p, p_holm, superiority,
        verdict.
    """
    others = [name for name in table.columns if name != reference]
    differences = [paired_difference(table[name], table[reference], level, overlap) for name in others]
    adjusted = holm([one.p for one in differences])
    rows = [
        {
            **vars(one.estimate),
            "p": one.p,
            "p_holm": p,
            "superiority": one.superiority,
            "verdict": verdict(one, p, higher_is_better),
        }
        for one, p in zip(differences, adjusted, strict=True)
    ]
    return pd.DataFrame(rows, index=others)


def interquartile_mean(
    scores: ArrayLike, level: float = LEVEL, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Compute the mean of the middle half of all scores, with a bootstrap interval stratified by task.

    The percentiles are widened by Hesterberg's (2015) expanded percentile interval: with 5 seeds and 4 tasks
    the plain percentile interval covers 90 % instead of 95 %.

    Args:
        scores: shape (seeds, tasks), or (seeds,) for one task.
        level: confidence level.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.

    Returns:
        The bounds are NaN for one seed.
    """
    x = np.asarray(scores, dtype=float)
    x = x[:, None] if x.ndim == 1 else x
    n, tasks = x.shape
    mean = float(stats.trim_mean(x, 0.25, axis=None))
    if n == 1:
        return Estimate(mean, math.nan, math.nan, 1)
    rng = np.random.default_rng(seed)
    rows = rng.integers(n, size=(resamples, n, tasks))
    samples = np.take_along_axis(x[None], rows, axis=1).reshape(resamples, -1)
    degrees = tasks * (n - 1)
    tail = stats.norm.cdf(math.sqrt(n / (n - 1)) * stats.t.ppf((1 - level) / 2, degrees))
    low, high = np.quantile(stats.trim_mean(samples, 0.25, axis=1), [tail, 1 - tail])
    return Estimate(mean, float(low), float(high), n)


def expected_best(scores: ArrayLike) -> NDArray[np.float64]:
    """Compute the expected best validation score after k = 1 … n tuning trials (Tang et al. 2020).

    The estimate is unbiased: the mean of the maximum over all subsets of k of the n trials. (Dodge et al.
    2019 draw with replacement, which is biased downwards.) Negate a score that should be low, before and
    after.

    Args:
        scores: shape (n,).

    Returns:
        Shape (n,); entry k − 1 is for k trials.
    """
    x = np.sort(np.asarray(scores, dtype=float))
    n = len(x)
    rank, trials = np.arange(1, n + 1)[None], np.arange(1, n + 1)[:, None]
    # The i-th smallest score is the maximum of C(i − 1, k − 1) of the C(n, k) subsets.
    expected: NDArray[np.float64] = (special.comb(rank - 1, trials - 1) / special.comb(n, trials)) @ x
    return expected


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust the p values of one family of tests (Holm 1979).

    Args:
        p: shape (tests,). A NaN (no test) stays NaN and does not count as a member of the family.

    Returns:
        Adjusted p values, shape (tests,), in the order of `p`.
    """
    values = np.asarray(p, dtype=float)
    adjusted, largest = np.full(values.shape, math.nan), 0.0
    tested = np.flatnonzero(~np.isnan(values))
    for rank, place in enumerate(tested[np.argsort(values[tested], kind="stable")]):
        largest = max(largest, min(1.0, (len(tested) - rank) * values[place]))
        adjusted[place] = largest
    return adjusted


def verdict(difference: PairedDifference, adjusted_p: float, higher_is_better: bool = True) -> str:
    """Return what may be claimed of A against B.

    Args:
        difference: the paired comparison of A with B.
        adjusted_p: its p value, adjusted for the family of comparisons.
        higher_is_better: direction of the metric.

    Returns:
        `TOO_FEW_SEEDS`: fewer than `MIN_SEEDS` pairs. `NO_SPREAD`: the differences are equal and not 0, so
        that there is no t test. `AHEAD` or `BEHIND`: `adjusted_p` is below 1 − `LEVEL`, and P(A > B) is at
        least `SUPERIORITY_THRESHOLD` (for a negative difference: P(B > A)). `NO_DIFFERENCE` otherwise.
    """
    if not difference.estimate.has_enough_seeds:
        return TOO_FEW_SEEDS
    if math.isnan(difference.p):
        return NO_SPREAD
    positive = difference.estimate.mean > 0
    share = difference.superiority if positive else 1 - difference.superiority
    if not adjusted_p < 1 - LEVEL or share < SUPERIORITY_THRESHOLD:
        return NO_DIFFERENCE
    return AHEAD if positive == higher_is_better else BEHIND


def missing_combinations(
    runs: pd.DataFrame, values: Iterable[float] | None = None
) -> list[tuple[str, str, int]]:
    """List the (variant, condition, seed) of the full grid that have no finite value.

    Args:
        runs: a row per run with the columns variant, condition, seed.
        values: one value per run, in the order of `runs`; default: all are finite.
    """
    combinations = list(zip(runs.variant, runs.condition, runs.seed, strict=True))
    finite = [True] * len(combinations) if values is None else [math.isfinite(v) for v in values]
    present = {one for one, ok in zip(combinations, finite, strict=True) if ok}
    axes = [sorted(set(axis)) for axis in zip(*combinations, strict=True)]
    return [one for one in product(*axes) if one not in present] if combinations else []
