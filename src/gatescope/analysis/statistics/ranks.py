"""Comparison of several variants over several datasets, each of which counts once (Demšar 2006)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from gatescope.analysis.statistics.estimates import LEVEL

MIN_DATASETS = 3
"""Fewest datasets over which variants are ranked."""
ENOUGH_DATASETS = 10
"""Number of datasets below which these tests find only large differences (Demšar 2006)."""


@dataclass(frozen=True)
class RankComparison:
    """Variants ranked on each of several datasets.

    Attributes:
        ranks: mean rank of each variant, the best first; 1 is the best possible.
        datasets: number of datasets.
        p: p value of Friedman's test that all variants are equally good; NaN for two variants.
        critical_difference: difference of mean ranks from which Nemenyi's test rejects equality.
        pairs: a row for each pair of variants: a, b (a has the better mean rank), nemenyi and wilcoxon.
            `nemenyi` is the p value of Nemenyi's test, `wilcoxon` that of Wilcoxon's signed-rank test,
            adjusted by Holm's method. Both are for all pairs together.
        level: confidence level.
    """

    ranks: pd.Series
    datasets: int
    p: float
    critical_difference: float
    pairs: pd.DataFrame
    level: float = LEVEL

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The largest groups of variants no two of which differ by Nemenyi's test, the best first."""
        names = [str(name) for name in self.ranks.index]
        values = self.ranks.to_numpy()
        ends = [int((values - value < self.critical_difference).sum()) for value in values]
        return [
            tuple(names[start:end])
            for start, end in enumerate(ends)
            if end - start > 1 and (start == 0 or end > ends[start - 1])
        ]


def compare_ranks(
    scores: pd.DataFrame, normalised: pd.DataFrame | None = None, level: float = LEVEL
) -> RankComparison:
    """Compare variants by their ranks over datasets.

    Args:
        scores: a row for each dataset, a column for each variant; higher is better. No value is missing.
        normalised: the same scores on a scale that all datasets share, for Wilcoxon's test, which compares
            sizes of differences; datasets without one are left out. Default: `scores`.
        level: confidence level.
    """
    ranks = mean_ranks(scores)
    datasets, count = scores.shape
    pairs = list(combinations(ranks.index, 2))
    sizes = scores if normalised is None else normalised.dropna()
    table = pd.DataFrame(
        {
            "a": [a for a, _ in pairs],
            "b": [b for _, b in pairs],
            "nemenyi": [nemenyi_p(ranks[b] - ranks[a], count, datasets) for a, b in pairs],
            "wilcoxon": holm([wilcoxon_p(sizes[a], sizes[b]) for a, b in pairs]),
        }
    )
    difference = critical_difference(count, datasets, level)
    return RankComparison(ranks, datasets, friedman_p(scores), difference, table, level)


def mean_ranks(scores: pd.DataFrame) -> pd.Series:
    """Return the mean rank of each column over the rows, the best first.

    Args:
        scores: a row for each dataset, a column for each variant; higher is better. Equal scores share the
            mean of their ranks.
    """
    ranks: pd.Series = scores.rank(axis=1, ascending=False).mean()
    return ranks.sort_values(kind="stable")


def friedman_p(scores: pd.DataFrame) -> float:
    """Return the p value of Friedman's test; NaN for fewer than three variants or where all scores tie."""
    if scores.shape[1] < 3 or (scores.nunique(axis=1) == 1).all():
        return math.nan
    return float(stats.friedmanchisquare(*scores.to_numpy().T).pvalue)


def critical_difference(variants: int, datasets: int, level: float = LEVEL) -> float:
    """Return the difference of mean ranks from which Nemenyi's test rejects equality.

    Args:
        variants: number k of variants.
        datasets: number N of datasets.
        level: confidence level of all pairs together.
    """
    quantile = float(stats.studentized_range.ppf(level, variants, math.inf))
    return quantile / math.sqrt(2) * math.sqrt(variants * (variants + 1) / (6 * datasets))


def nemenyi_p(difference: float, variants: int, datasets: int) -> float:
    """Return the p value of a difference of two mean ranks by Nemenyi's test, for all pairs together."""
    error = math.sqrt(variants * (variants + 1) / (6 * datasets))
    return float(stats.studentized_range.sf(abs(difference) / error * math.sqrt(2), variants, math.inf))


def wilcoxon_p(a: ArrayLike, b: ArrayLike) -> float:
    """Return the p value of Wilcoxon's signed-rank test of two columns; 1 where they are equal, or empty."""
    x = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    return float(stats.wilcoxon(x, zero_method="pratt").pvalue) if np.any(x != 0) else 1.0


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p values for their number by Holm's (1979) step-down method."""
    x = np.asarray(p, dtype=float)
    order = np.argsort(x)
    adjusted = np.empty_like(x)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(x[order] * np.arange(len(x), 0, -1)))
    return adjusted
