"""The unit of intervals and tests: the seed or, in a cross-validation, the fold.

Runs of one fold have the same test split, so that several seeds of a fold count as one value, their mean. Two
folds share most of their training examples: their values are not independent, and an interval has to be
widened by `overlap` (Nadeau & Bengio 2003, see `gatescope.analysis.statistics`).

Tables of runs have the columns `unit` (the number of the fold, or the seed) and `overlap` (0 without folds).
"""

from __future__ import annotations

from typing import Literal

import pandas as pd

from gatescope.analysis.intervals import Scale, metric_interval
from gatescope.analysis.statistics import Estimate, ItemVariance, mean_interval

SEED, FOLD = "seed", "fold"


def unit_values(table: pd.DataFrame) -> pd.Series:
    """Return a value per unit, indexed by unit.

    The value of a fold is the mean over its runs; NaN where the value of one of them is missing.

    Args:
        table: a row per run, with the columns unit, overlap and value.
    """
    if not overlap(table):
        return table.set_index("unit").value
    by_unit = table.groupby("unit").value
    return by_unit.mean().where(by_unit.count() == by_unit.size())


def mean_by_unit(wide: pd.DataFrame) -> pd.DataFrame:
    """Return the means of the columns of each unit, the first level of the names of the columns."""
    units = wide.columns.get_level_values(0)
    return wide if units.is_unique else wide.T.groupby(level=0).mean().T


def overlap(table: pd.DataFrame) -> float:
    """Return the correction for overlapping training sets of the runs of a table; 0 for seeds."""
    return float(table.overlap.max()) if len(table) else 0.0


def unit_interval(table: pd.DataFrame) -> Estimate:
    """Compute the mean over units and its t interval, corrected for overlapping training sets.

    Args:
        table: a row per run, with the columns unit, overlap and value.
    """
    return mean_interval(unit_values(table), overlap=overlap(table))


def unit_metric(table: pd.DataFrame, scale: Scale, items: ItemVariance | None = None) -> Estimate:
    """Compute the mean of a metric over units and its interval, within the range of its scale.

    Args:
        table: a row per run, with the columns unit, overlap and value.
        scale: where the metric can vary.
        items: the variance over test items; None for folds, whose values vary with the test items already.
    """
    return metric_interval(unit_values(table), scale, items, overlap=overlap(table))


def unit_name(table: pd.DataFrame) -> Literal["seed", "fold"]:
    """Return what the units of a table are called."""
    return "fold" if len(table) and bool((table.overlap > 0).all()) else "seed"


def correction(table: pd.DataFrame) -> str:
    """Return the sentences of a report on intervals over folds; "" where the unit is the seed."""
    ratios = sorted({round(ratio, 6) for ratio in table.overlap if ratio > 0})
    if not ratios:
        return ""
    shown = " or ".join(f"{ratio:.3g}" for ratio in ratios)
    seeds = ""
    if table.groupby(["variant", "condition", "unit"]).seed.nunique().max() > 1:
        seeds = " The value of a fold is the mean over its seeds."
    return (
        "Intervals and tests are over folds: variants are paired by fold, and so by their test examples. "
        "Training sets of different folds overlap, therefore the variance of a mean over n folds is taken "
        f"as (1/n + {shown}) · s² instead of s²/n, with the ratio of test to other examples (corrected "
        f"resampled t test, Nadeau & Bengio 2003).{seeds}"
    )
