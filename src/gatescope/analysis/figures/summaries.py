"""Means over seeds and other summaries of tables, and texts that captions share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from gatescope.analysis import study, style, words
from gatescope.analysis.intervals import Scale, metric_intervals, scale_of
from gatescope.analysis.statistics import geometric_intervals
from gatescope.analysis.tables import count_text
from gatescope.analysis.units import mean_by_unit, overlap, unit_name

MAX_CONDITIONS = 16
"""Most panels of a figure that has one per condition: thirty take a minute to lay out and are unreadable."""


def mean_over_seeds(
    table: pd.DataFrame, x: str, geometric: bool = False, scale: Scale = "real"
) -> pd.DataFrame:
    """Compute the mean over seeds and its interval at each `x` that all seeds have reached.

    Args:
        table: Columns `x`, seed, unit, overlap and value.
        x: Name of a column, such as "step".
        geometric: Whether means are geometric, with intervals of logarithms.
        scale: Where the values can vary; intervals stay within.

    Returns:
        Columns mean, low, high and n, by `x`.
    """
    runs = ["unit", "seed"]
    wide = table.dropna(subset=["value"]).pivot_table(index=x, columns=runs, values="value", aggfunc="last")
    wide = wide[wide.notna().sum(axis=1) == len(table[runs].drop_duplicates())]
    values, correction = mean_by_unit(wide).to_numpy(dtype=float), overlap(table)
    if geometric:
        intervals = geometric_intervals(values, overlap=correction)
    else:
        intervals = metric_intervals(values, scale, overlap=correction)
    return intervals.set_index(wide.index)


def means(
    table: pd.DataFrame,
    by: list[str],
    x: str,
    geometric: bool = False,
    scale: Callable[[str], Scale] = scale_of,
) -> pd.DataFrame:
    """Compute `mean_over_seeds` of every variant in every group of `by`.

    Args:
        table: Columns `by`, variant, `x`, seed, unit, overlap and value.
        by: Columns that define groups. Where "quantity" is one of them, the scale follows from it.
        x: Name of a column, such as "step".
        geometric: As in `mean_over_seeds`.
        scale: From a quantity to its scale.

    Returns:
        Columns `by`, variant, `x`, mean, low, high and n.
    """
    parts = []
    groups = list(table.groupby(by, sort=False)) if by else [((), table)]
    if "condition" in by:
        position = by.index("condition")
        groups.sort(key=lambda group: study.natural(str(group[0][position])))
    for group, part in groups:
        for variant in style.order(part.variant):
            named = {"variant": variant} | {name: str(key) for name, key in zip(by, group, strict=True)}
            own_scale = scale(named["quantity"]) if "quantity" in named else "real"
            rows = mean_over_seeds(part[part.variant == variant], x, geometric, own_scale)
            rows = rows.rename_axis(x).reset_index()
            parts.append(rows.assign(**named))
    return pd.concat(parts, ignore_index=True)[[*by, "variant", x, "mean", "low", "high", "n"]]


def without_duplicate_gates(table: pd.DataFrame) -> pd.DataFrame:
    """Drop the gate `keep` of runs that show it as 1 − `update`, or in older records as `forget`.

    Args:
        table: Columns run_id and gate.
    """
    redundant = table.run_id[table.gate.isin(("update", "forget"))]
    return table[(table.gate != "keep") | ~table.run_id.isin(redundant)]


def evenly_spaced(items: list[str], most: int) -> list[str]:
    """Return at most `most` of the items, evenly spaced: the first and the last, or if one only the last."""
    if len(items) <= most:
        return items
    if most == 1:
        return items[-1:]
    return [items[place] for place in np.linspace(0, len(items) - 1, most).round().astype(int)]


def omitted_conditions(conditions: list[str], most: int = MAX_CONDITIONS) -> str:
    """Return the sentence of a caption that says how many conditions are drawn; "" if all are."""
    if len(conditions) <= most:
        return ""
    return f" {most} of {len(conditions)} conditions are drawn, evenly spaced; the tables contain all."


def one_scale(ranges: Iterable[tuple[float, float]]) -> bool:
    """Return whether panels with values in these ranges can share a scale: it makes none of them narrow.

    Args:
        ranges: Lowest and highest value of each panel; those with a value that is not finite do not count.
    """
    known = [(low, high) for low, high in ranges if math.isfinite(low) and math.isfinite(high)]
    if not known:
        return True
    whole = max(high for _, high in known) - min(low for low, _ in known)
    return whole <= 2 * min(high - low for low, high in known)


def condition_text(table: pd.DataFrame) -> str:
    """Return the condition of a table with one condition, in parentheses; "" where it is empty."""
    condition = words.condition(table.condition.iloc[0])
    return f" ({condition})" if condition else ""


def seed_text(table: pd.DataFrame) -> str:
    """Return "5 seeds", or "3 to 5 seeds" where variants differ; folds in a cross-validation.

    Args:
        table: Columns variant, condition, unit and overlap.
    """
    return count_text(table.groupby(["variant", "condition"]).unit.nunique(), unit_name(table))


def readable_name(name: str) -> str:
    """Return the name of a metric as the text of an axis: "validation macro F1" for "validation/macro_f1"."""
    return style.escape(words.metric(name))
