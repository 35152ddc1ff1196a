"""A check of the numbers of a written report: ranges, intervals and verdicts.

problems(Path("reports/first_light"))    # [] where all is well
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from gatescope.analysis.faithfulness import ERASURE, PERMUTED, TAU
from gatescope.analysis.intervals import BOUNDS, Scale, scale_of
from gatescope.analysis.statistics import (
    AHEAD,
    BEHIND,
    EQUIVALENT,
    LEVEL,
    NO_SPREAD,
    TOO_FEW_SEEDS,
    UNDECIDED,
)

VERDICTS = (AHEAD, BEHIND, EQUIVALENT, UNDECIDED, NO_SPREAD, TOO_FEW_SEEDS)
PROBABILITIES = ("p", "superiority", "p_nemenyi", "p_wilcoxon_holm", "share")
PRIMARY = ("metric_by_variant", "pareto")
"""Figures that show the primary metric, by the names of their tables."""
UNBOUNDED = "half_life_over_training"
"""The numbers of this figure have no upper bound where the interval of the decay rate contains 0."""
EXTREMES = "reach of the gradient (steps)"
"""A quantity with its least and largest value in place of an interval: those of equal seeds have no width."""
INTERVAL = re.compile(r"(?<!\d of )(?<![\d.,+−])([+−]?\d[\d.,]*) \[([+−]?\d[\d.,]*), ([+−]?\d[\d.,]*)\]")
"""A mean with its interval as `numbers.interval` formats it."""
COUNT = re.compile(r"\b(\d+) of (\d+) \[(\d[\d.]*), (\d[\d.]*)\]")
"""A number of seeds with the interval of their share."""
TOLERANCE = 1e-9


def problems(folder: Path) -> list[str]:
    """Return what is wrong with the numbers of a report; nothing where all of them are possible.

    Checked are the tables, the numbers under figures, the runs, and the intervals in the texts of README and
    summary: no value and no interval outside of its range, none without its mean or of no width, and no
    verdict against its interval.

    Args:
        folder: the folder of the report.
    """
    found = [*_runs(folder / "runs.csv")]
    primary = _metrics(pd.read_csv(folder / "tables" / "variants.csv"))[0]
    for path in sorted((folder / "tables").glob("*.csv")):
        table = pd.read_csv(path)
        for name in _metrics(table):
            found += _intervals(path, table, name, f"{name}/")
        if path.stem == "differences":
            found += _differences(path, table, primary)
        found += _probabilities(path, table)
    for path in sorted((folder / "numbers").glob("*.csv")):
        table = pd.read_csv(path)
        if {"mean", "low", "high"} <= set(table):
            column = next((name for name in ("metric", "quantity") if name in table), None)
            for quantity, rows in table.groupby(column) if column else [("", table)]:
                name = str(quantity) or (primary if path.stem in PRIMARY else "")
                found += _intervals(path, rows, name)
        found += _probabilities(path, table)
    return [*found, *_texts(folder)]


def _metrics(table: pd.DataFrame) -> list[str]:
    """Return the metrics with an interval, the primary one first."""
    return [name.removesuffix("/mean") for name in map(str, table) if name.endswith("/mean")]


def _runs(path: Path) -> Iterator[str]:
    table = pd.read_csv(path)
    for name in (column for column in map(str, table) if "/" in column):
        low, high = BOUNDS[scale_of(name)]
        for row in table[(table[name] < low) | (table[name] > high)].itertuples():
            yield f"{path.name}: {row.run_id} has {name} outside of {low:g} to {high:g}"


def _intervals(path: Path, table: pd.DataFrame, name: str, prefix: str = "") -> Iterator[str]:
    """Yield the rows whose mean or interval is impossible for a metric of this name."""
    low, high = BOUNDS[_scale(name)]
    for index, row in table.iterrows():
        mean, start, end = (row[f"{prefix}{part}"] for part in ("mean", "low", "high"))
        place = f"{path.name}, row {index}{f', {name}' if name else ''}: {mean:g} [{start:g}, {end:g}]"
        if not (pd.isna(mean) or low - TOLERANCE <= mean <= high + TOLERANCE):
            yield f"{place} is outside of {low:g} to {high:g}"
        if name != EXTREMES:
            yield from _interval(place, mean, start, end)
        if start < low - TOLERANCE or end > high + TOLERANCE:
            yield f"{place} leaves {low:g} to {high:g}"


def _scale(name: str) -> Scale:
    """Return the scale of a metric, or of a quantity in words; any value is possible without a name."""
    if name in TAU.values():
        return "correlation"
    if name in (*ERASURE.values(), PERMUTED):
        return "proportion"
    return scale_of(name.replace(" ", "_")) if name else "real"


def _interval(place: str, mean: float, low: float, high: float) -> Iterator[str]:
    is_unbounded = place.startswith(UNBOUNDED) and pd.isna(high)
    if pd.isna(low) != pd.isna(high) and not is_unbounded:
        yield f"{place} has one bound"
    if low == high:
        yield f"{place} has no width"
    if low > mean + TOLERANCE or high < mean - TOLERANCE:
        yield f"{place} does not contain its mean"


def _differences(path: Path, table: pd.DataFrame, primary: str) -> Iterator[str]:
    """Yield the verdicts that do not follow from the interval beside them, and impossible differences."""
    largest = 1.0 if scale_of(primary) == "proportion" else float("inf")
    signs: dict[str, set[bool]] = {AHEAD: set(), BEHIND: set()}
    for index, row in table.iterrows():
        place = f"{path.name}, row {index}: {row['mean']:g} [{row.low:g}, {row.high:g}], {row.verdict}"
        yield from _interval(place, row["mean"], row.low, row.high)
        if max(abs(row["mean"]), -row.low, row.high) > largest + TOLERANCE:
            yield f"{place} leaves −1 to 1"
        if row.verdict not in VERDICTS:
            yield f"{place}: there is no such verdict"
        excludes_zero = row.low > 0 or row.high < 0
        if row.verdict in signs:
            signs[row.verdict].add(row["mean"] > 0)
        if excludes_zero != (row.verdict in signs) and row.verdict != TOO_FEW_SEEDS:
            yield f"{place} contradicts its interval"
        p = row.get("p", float("nan"))
        if not (pd.isna(row.low) or pd.isna(p)) and excludes_zero != (p < 1 - LEVEL):
            yield f"{place} contradicts p = {p:g}"
    if any(len(one) > 1 for one in signs.values()) or signs[AHEAD] & signs[BEHIND]:
        yield f"{path.name}: ahead and behind are not of opposite sign"


def _probabilities(path: Path, table: pd.DataFrame) -> Iterator[str]:
    for name in (name for name in PROBABILITIES if name in table):
        if ((table[name] < 0) | (table[name] > 1)).any():
            yield f"{path.name}: {name} is outside of 0 to 1"


def _texts(folder: Path) -> Iterator[str]:
    """Yield the intervals in texts that do not contain their mean; rounding may take their width."""
    texts = {"README.md": (folder / "README.md").read_text(encoding="utf-8")}
    texts["summary.json"] = str(
        json.loads((folder / "summary.json").read_text(encoding="utf-8")).get("finding")
    )
    for name, text in texts.items():
        for match in INTERVAL.finditer(text):
            mean, low, high = (float(part.replace("−", "-").replace(",", "")) for part in match.groups())
            if not low <= mean <= high:
                yield f"{name}: {match.group()} does not contain its mean"
        for match in COUNT.finditer(text):
            count, seeds, low, high = map(float, match.groups())
            if not low <= count / seeds <= high:
                yield f"{name}: {match.group()} does not contain its share"
