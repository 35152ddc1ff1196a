"""Data that are drawn anew with each seed (`study.vary_data`): which splits did vary, and what that means.

The fingerprint of each run's splits is part of its record. Runs of one dataset are compared by it: a split
with more than one fingerprint varies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gatescope.analysis.tables import Tables
from gatescope.tracking.identity import digest

SPLITS = ("train", "validation", "test")
DIGITS = 5
"""Significant digits of real values in a digest; the last bits differ between machines."""


def split_digests(run: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of each split of a run by the column of `Tables.runs`; empty in older records.

    Args:
        run: the content of run.json.
    """
    data = run.get("data") or {}
    return {f"data/{name}": digest(_rounded(data[name])) for name in SPLITS if name in data}


def _rounded(value: Any) -> Any:
    return json.loads(json.dumps(value), parse_float=lambda text: f"{float(text):.{DIGITS}g}")


def varies(tables: Tables) -> bool:
    """Return whether the study draws its data anew with each seed."""
    return bool(tables.study.get("vary_data"))


def varying_splits(tables: Tables) -> tuple[str, ...]:
    """Return the splits that differ between the runs of some dataset."""
    by_data = tables.runs.groupby("data")
    return tuple(name for name in _recorded(tables) if (by_data[f"data/{name}"].nunique() > 1).any())


def _recorded(tables: Tables) -> list[str]:
    return [name for name in SPLITS if f"data/{name}" in tables.runs]


def sentence(tables: Tables) -> str:
    """Return which splits vary with the seed and which do not; "" for a study that does not vary its data."""
    recorded = _recorded(tables)
    if not varies(tables) or not recorded:
        return ""
    found = varying_splits(tables)
    fixed = [name for name in recorded if name not in found]
    if not found:
        return "The data are the same for all seeds, although the study asks for others (`study.vary_data`)."
    own = f"Each seed has its own data: {_splits(found)} differ{'s' if len(found) == 1 else ''}"
    same = f"; {_splits(fixed)} {'is' if len(fixed) == 1 else 'are'} fixed by the dataset" if fixed else ""
    return f"{own}{same}."


def covers(tables: Tables, has_items: bool) -> str:
    """Return what intervals over seeds cover.

    Args:
        tables: the compared runs.
        has_items: whether the variance over the items of one test set is part of the intervals.
    """
    found = varying_splits(tables) if varies(tables) else ()
    if "test" in found:
        return "seeds and data"
    parts = ["seeds", *(["training data"] if found else []), *(["test items"] if has_items else [])]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def baseline_values(tables: Tables, condition: str, name: str, metric: str) -> pd.Series | None:
    """Return the values of a baseline by seed, where the data vary and so each seed has a bar of its own.

    Args:
        tables: the compared runs, baselines included.
        condition: the condition.
        name: cell of the baseline.
        metric: the metric.

    Returns:
        None for a study whose seeds share their data, and for a baseline that is a published value.
    """
    rows = (tables.runs.cell == name) & (tables.runs.condition == condition)
    if not varies(tables) or not rows.any():
        return None
    final = tables.final(metric)[rows]
    values: pd.Series = final.set_index("unit").value
    return values


def _splits(names: Sequence[str]) -> str:
    """Return "the train and the test split"."""
    return f"the {' and the '.join(names)} split"
