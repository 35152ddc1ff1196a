"""Several comparisons whose intervals hold together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gatescope.analysis.statistics.differences import PairedDifference, paired_difference, with_level
from gatescope.analysis.statistics.estimates import LEVEL, ItemVariance
from gatescope.analysis.statistics.verdicts import verdict


def compare_with_reference(
    table: pd.DataFrame,
    reference: str,
    higher_is_better: bool = True,
    level: float = LEVEL,
    margin: float | None = None,
    overlap: float = 0.0,
) -> pd.DataFrame:
    """Compare every column with the reference column; all comparisons form one family.

    Args:
        table: a row per seed, a column per variant. A NaN marks a missing result.
        reference: name of the column that the others are compared with.
        higher_is_better: direction of the metric.
        level: confidence level of all intervals together.
        margin: largest difference that does not matter; None if there is none.
        overlap: ratio of test to other examples, for folds.

    Returns:
        One row per other variant: mean, low, high, n (of variant − reference; the intervals are
        simultaneous), p (adjusted), superiority, verdict.
    """
    others = [name for name in table.columns if name != reference]
    pairs = [(table[name], table[reference], None) for name in others]
    family = compare_family(pairs, level, overlaps=[overlap] * len(pairs))
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
    pairs: Iterable[tuple[pd.Series, pd.Series, ItemVariance | None]],
    level: float = LEVEL,
    tests: int = 0,
    overlaps: Sequence[float] | None = None,
) -> Family:
    """Compare pairs as one family: intervals of level 1 − (1 − level) / k each (Bonferroni).

    Args:
        pairs: A, B and the variance of A − B over test items.
        level: confidence level of all intervals together.
        tests: k, where the pairs are a selection of more comparisons; default: the pairs that have a test.
        overlaps: of each pair, the ratio of test to other examples, for folds; default: 0.
    """
    pairs = list(pairs)
    parts = zip(pairs, overlaps if overlaps is not None else [0.0] * len(pairs), strict=True)
    single = [paired_difference(a, b, level, items, overlap) for (a, b, items), overlap in parts]
    tests = max(tests, sum(not math.isnan(one.p) for one in single), 1)
    return Family(tuple(with_level(one, 1 - (1 - level) / tests) for one in single), tests)
