"""What may be claimed of a paired difference, and how many seeds would decide it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy import stats

from gatescope.analysis.statistics.differences import PairedDifference, error_with
from gatescope.analysis.statistics.estimates import LEVEL, MIN_SEEDS

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
    error, degrees = error_with(difference, len(difference.values))
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
        None where more than `MOST_SEEDS` are needed, or where the test set is too small for any number; and
        for folds, whose number changes the training sets.
    """
    if math.isnan(difference.estimate.low) or difference.overlap:
        return None
    alpha, size = (1 - level) / tests, abs(difference.estimate.mean)

    def decides(n: int) -> bool:
        error, degrees = error_with(difference, n)
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
