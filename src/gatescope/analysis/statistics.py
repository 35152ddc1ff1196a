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
>>> table[["mean", "low", "high", "p", "verdict"]].round(4)
       mean     low    high       p verdict
gru   0.108  0.0820  0.1340  0.0004   ahead
lstm  0.098  0.0789  0.1171  0.0001   ahead
>>> difference = statistics.paired_difference(accuracy["gru"], accuracy["lstm"])
>>> round(difference.estimate.mean, 3), round(difference.p, 4)
(0.01, 0.0341)

docs/statistics.md explains which method answers which question. Sources: P(A > B), Bouthillier et al. 2021;
two one-sided tests, Schuirmann 1987; degrees of freedom of a sum of variances, Satterthwaite 1946;
interquartile mean, Agarwal et al. 2021; expected best of k trials, Dodge et al. 2019 and Tang et al. 2020.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product

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
ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Standard deviations up to this fraction of the values are rounding errors of float32 metrics, no spread."""

AHEAD = "ahead"
BEHIND = "behind"
EQUIVALENT = "equivalent"
UNDECIDED = "undecided"
NO_SPREAD = "no spread over seeds"
TOO_FEW_SEEDS = "not enough seeds"

POWER = 0.8
"""Probability with which a number of seeds would decide a comparison, if the estimates were the truth."""
MOST_SEEDS = 1000
"""Largest number of seeds that is named as enough to decide a comparison."""


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
    """

    estimate: Estimate
    p: float
    superiority: float
    seeds: tuple[Hashable, ...]
    values: tuple[float, ...]
    items: ItemVariance | None = None


def mean_interval(values: ArrayLike, level: float = LEVEL) -> Estimate:
    """Compute the mean and its t interval.

    Args:
        values: one value per seed, shape (seeds,). Values that are not finite are ignored.
        level: confidence level.
    """
    return _only_row(mean_intervals(np.asarray(values, dtype=float).reshape(1, -1), level))


def mean_intervals(values: ArrayLike, level: float = LEVEL) -> pd.DataFrame:
    """Compute the mean and its t interval of every row.

    Args:
        values: shape (rows, seeds). Values that are not finite are ignored.
        level: confidence level.

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
    error = np.where(no_spread, np.nan, deviation / np.sqrt(np.maximum(n, 1)))
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


def geometric_intervals(values: ArrayLike, level: float = LEVEL) -> pd.DataFrame:
    """Compute `geometric_interval` of every row.

    Args:
        values: shape (rows, seeds).
        level: confidence level.

    Returns:
        One row per row of `values`: mean, low, high, n, as in `Estimate`.
    """
    x = np.asarray(values, dtype=float)
    positive = np.isfinite(x) & (x > 0)
    table = mean_intervals(
        np.log(np.where(positive, x, 1.0), out=np.full_like(x, np.nan), where=positive), level
    )
    table[["mean", "low", "high"]] = np.exp(table[["mean", "low", "high"]])
    return table


def _only_row(table: pd.DataFrame) -> Estimate:
    mean, low, high, n = table.iloc[0]
    return Estimate(float(mean), float(low), float(high), int(n))


def summarize(table: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """Compute the mean and its t interval of every column.

    Args:
        table: a row per seed, a column per variant.
        level: confidence level.

    Returns:
        One row per variant: mean, low, high, n, as in `Estimate`.
    """
    return mean_intervals(table.to_numpy(dtype=float).T, level).set_index(table.columns)


def paired_difference(
    a: ArrayLike | pd.Series,
    b: ArrayLike | pd.Series,
    level: float = LEVEL,
    items: ItemVariance | None = None,
) -> PairedDifference:
    """Compare A with B by a paired t test.

    Args:
        a: one value per seed, shape (seeds,). Two Series are paired by their index (the seed), anything else
            by position. Pairs with a value that is not finite are ignored.
        b: as `a`.
        level: confidence level of the interval.
        items: the variance of the difference over test items, which is added to that over seeds.
    """
    both = pd.concat([pd.Series(a, dtype=float), pd.Series(b, dtype=float)], axis=1, keys=["a", "b"])
    both = both.replace([np.inf, -np.inf], np.nan).dropna()
    x, y = both.a.to_numpy(), both.b.to_numpy()
    estimate, p = _paired_t_test(x, y, level, items)
    return PairedDifference(estimate, p, superiority(x, y), tuple(both.index.tolist()), tuple(x - y), items)


def _paired_t_test(
    x: NDArray[np.float64], y: NDArray[np.float64], level: float, items: ItemVariance | None
) -> tuple[Estimate, float]:
    """Return the mean difference with its interval, and the p value."""
    d = x - y
    if len(d) < 2:
        return mean_interval(d, level), math.nan
    mean, rounding = float(d.mean()), ROUNDING * float(np.abs([x, y]).max())
    has_spread = d.std(ddof=1) > rounding
    if not has_spread and (items is None or items.variance == 0):
        return Estimate(mean, math.nan, math.nan, len(d)), 1.0 if abs(mean) <= rounding else math.nan
    error, degrees = standard_error(float(d.var(ddof=1)) if has_spread else 0.0, len(d), items)
    width = error * float(stats.t.ppf((1 + level) / 2, degrees))
    p = 2 * float(stats.t.sf(abs(mean) / error, degrees))
    return Estimate(mean, mean - width, mean + width, len(d)), p


def standard_error(variance: float, n: int, items: ItemVariance | None = None) -> tuple[float, float]:
    """Return the standard error of a mean over seeds and test items, and its degrees of freedom.

    Args:
        variance: over seeds.
        n: number of seeds.
        items: variance over test items, which more seeds do not reduce.

    Returns:
        The degrees of freedom are those of Satterthwaite (1946) for the sum of both variances.
    """
    parts = [(variance / n, n - 1), (items.variance, items.count - 1) if items else (0.0, 1)]
    total = sum(part for part, _ in parts)
    # Divided first: the squares of tiny variances would underflow.
    shares = [((part / total) ** 2, degrees) for part, degrees in parts if part > 0]
    return math.sqrt(total), 1 / sum(share / degrees for share, degrees in shares)


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
    margin: float | None = None,
) -> pd.DataFrame:
    """Compare every column with the reference column; all comparisons form one family.

    Args:
        table: a row per seed, a column per variant. A NaN marks a missing result.
        reference: name of the column that the others are compared with.
        higher_is_better: direction of the metric.
        level: confidence level of all intervals together.
        margin: largest difference that does not matter; None if there is none.

    Returns:
        One row per other variant: mean, low, high, n (of variant − reference; the intervals are
        simultaneous), p (adjusted), superiority, verdict.
    """
    others = [name for name in table.columns if name != reference]
    family = compare_family([(table[name], table[reference], None) for name in others], level)
    rows = [
        {
            **vars(one.estimate),
            "p": float(np.minimum(1.0, one.p * family.tests)),
            "superiority": one.superiority,
            "verdict": verdict(one, family.tests, higher_is_better, margin, level),
        }
        for one in family.differences
    ]
    return pd.DataFrame(rows, index=others)


@dataclass(frozen=True)
class Family:
    """Comparisons whose intervals hold together: all of them contain the truth with the given probability.

    Attributes:
        differences: with simultaneous intervals. Their p values are not adjusted.
        tests: number of comparisons that were tested (k); a p value times k is adjusted (Bonferroni).
    """

    differences: tuple[PairedDifference, ...]
    tests: int


def compare_family(
    pairs: Iterable[tuple[pd.Series, pd.Series, ItemVariance | None]], level: float = LEVEL, tests: int = 0
) -> Family:
    """Compare pairs as one family: intervals of level 1 − (1 − level) / k each (Bonferroni).

    Args:
        pairs: A, B and the variance of A − B over test items.
        level: confidence level of all intervals together.
        tests: k, where the pairs are a selection of more comparisons; default: the pairs that have a test.
    """
    pairs = list(pairs)
    single = [paired_difference(a, b, level, items) for a, b, items in pairs]
    tests = max(tests, sum(not math.isnan(one.p) for one in single), 1)
    own_level = 1 - (1 - level) / tests
    return Family(tuple(paired_difference(a, b, own_level, items) for a, b, items in pairs), tests)


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


def verdict(
    difference: PairedDifference,
    tests: int = 1,
    higher_is_better: bool = True,
    margin: float | None = None,
    level: float = LEVEL,
) -> str:
    """Return what may be claimed of A against B. It follows from the interval that is shown beside it.

    Args:
        difference: the paired comparison of A with B, with the simultaneous interval of its family.
        tests: number of tests of the family.
        higher_is_better: direction of the metric.
        margin: largest difference that does not matter; None if there is none.
        level: confidence level of all intervals of the family together.

    Returns:
        `TOO_FEW_SEEDS`: fewer than `MIN_SEEDS` pairs. `NO_SPREAD`: the differences are equal and not 0, so
        that there is no test. `AHEAD` or `BEHIND`: the interval does not contain 0. `EQUIVALENT`: both
        one-sided tests reject a difference of `margin` or more (Schuirmann 1987). `UNDECIDED` otherwise.
    """
    estimate = difference.estimate
    if not estimate.has_enough_seeds:
        return TOO_FEW_SEEDS
    if math.isnan(difference.p):
        return NO_SPREAD
    if estimate.low > 0 or estimate.high < 0:
        return AHEAD if (estimate.low > 0) == higher_is_better else BEHIND
    return EQUIVALENT if is_within(difference, margin, (1 - level) / tests) else UNDECIDED


def is_within(difference: PairedDifference, margin: float | None, alpha: float) -> bool:
    """Return whether two one-sided t tests at level alpha reject a difference of `margin` or more.

    Args:
        difference: the paired comparison.
        margin: None for False.
        alpha: level of each test.
    """
    if margin is None:
        return False
    if math.isnan(difference.estimate.low):  # all differences are 0
        return difference.p == 1.0
    error, degrees = _error_with(difference, len(difference.values))
    return abs(difference.estimate.mean) + error * float(stats.t.ppf(1 - alpha, degrees)) < margin


def seeds_to_decide(
    difference: PairedDifference, tests: int = 1, margin: float | None = None, level: float = LEVEL
) -> int | None:
    """Return about how many seeds would decide a comparison with probability `POWER`.

    The mean difference and its variances are taken as the truth.

    Args:
        difference: the paired comparison.
        tests: number of tests of the family.
        margin: largest difference that does not matter; None if there is none.
        level: confidence level of all intervals of the family together.

    Returns:
        None where more than `MOST_SEEDS` are needed, or where the test set is too small for any number.
    """
    if math.isnan(difference.estimate.low):
        return None
    alpha, size = (1 - level) / tests, abs(difference.estimate.mean)

    def decides(n: int) -> bool:
        error, degrees = _error_with(difference, n)
        power = stats.norm.cdf(size / error - stats.t.ppf(1 - alpha / 2, degrees))
        if margin is not None and size < margin:
            one_sided = stats.t.ppf(1 - alpha, degrees)
            ends = stats.norm.cdf(np.array([margin - size, margin + size]) / error - one_sided)
            power = max(power, ends.sum() - 1)
        return bool(power >= POWER)

    return next((n for n in _growing(MIN_SEEDS) if decides(n)), None)


def _growing(start: int) -> Iterator[int]:
    """Return numbers up to `MOST_SEEDS`, all up to 50 and then in steps of 2 %."""
    n = start
    while n <= MOST_SEEDS:
        yield n
        n = max(n + 1, round(n * 1.02))


def _error_with(difference: PairedDifference, n: int) -> tuple[float, float]:
    """Return the standard error of the mean difference with n seeds, and its degrees of freedom."""
    variance = float(np.var(difference.values, ddof=1))
    return standard_error(variance, n, difference.items)


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
