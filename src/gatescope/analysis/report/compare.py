"""The comparison that every report makes: a table of variants, and each against the control, seed by seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from gatescope.analysis import style
from gatescope.analysis.runs import Tables, summary_names
from gatescope.analysis.statistics import (
    Difference,
    Estimate,
    holm,
    mean_interval,
    paired_difference,
    verdict,
)


@dataclass(frozen=True)
class Row:
    """One variant under one condition: estimates by metric, means of its costs."""

    variant: str
    condition: str
    metrics: dict[str, Estimate]
    parameters: float
    seconds_per_epoch: Estimate
    n: int


@dataclass(frozen=True)
class Compared:
    """One variant against the control under one condition."""

    condition: str
    difference: Difference
    adjusted_p: float
    verdict: str


def primary(tables: Tables) -> str:
    """The metric that the study declares, else the task's own on the test split."""
    names = summary_names(tables)
    return str(tables.study.get("primary") or next((n for n in names if n != "test/loss"), "test/loss"))


def higher_is_better(tables: Tables) -> bool:
    return str(tables.study.get("direction", "max")).lower().startswith("max")


def metric_names(tables: Tables) -> list[str]:
    """The primary metric first, then the other test metrics."""
    first = primary(tables)
    return [first, *(name for name in summary_names(tables) if name != first)]


def control(tables: Tables) -> str:
    """The variant that others are set against: `study.control`, else the first in the order of tables."""
    variants = style.order(tables.runs.variant)
    named = str(tables.study.get("control", ""))
    return named if named in variants else variants[0]


def rows(tables: Tables) -> list[Row]:
    """A row a variant and condition that has a run, best known order first."""
    finals = {name: tables.final(name) for name in metric_names(tables)}
    seconds = tables.final("seconds_per_epoch")
    result = []
    for condition in sorted(tables.runs.condition.unique()):
        for variant in style.order(tables.runs.variant):
            here = (tables.runs.variant == variant) & (tables.runs.condition == condition)
            if not here.any():
                continue
            metrics = {name: mean_interval(table.value[here]) for name, table in finals.items()}
            parameters = pd.to_numeric(tables.runs.parameters[here]).mean()
            cost = mean_interval(seconds.value[here])
            result.append(Row(variant, condition, metrics, parameters, cost, metrics[primary(tables)].n))
    return result


def against_control(tables: Tables) -> list[Compared]:
    """Every other variant minus the control, paired by seed; Holm over all of them as one family."""
    table, base, higher = tables.final(primary(tables)), control(tables), higher_is_better(tables)
    found: list[tuple[str, Difference]] = []
    for condition in sorted(table.condition.unique()):
        by_variant = by_seed(table[table.condition == condition])
        for variant in style.order(by_variant):
            if variant != base and base in by_variant:
                found.append((condition, paired_difference(by_variant[variant], by_variant[base])))
    adjusted = holm([difference.p for _, difference in found])
    return [
        Compared(condition, difference, p, verdict(difference, p, higher))
        for (condition, difference), p in zip(found, adjusted, strict=True)
    ]


def leader(tables: Tables, condition: str) -> tuple[str, list[Compared]] | None:
    """The variant with the best mean, and it against each other one, Holm-adjusted; None without values."""
    table = tables.final(primary(tables)).dropna(subset=["value"])
    by_variant = by_seed(table[table.condition == condition])
    if not by_variant:
        return None
    sign = 1 if higher_is_better(tables) else -1
    best = max(style.order(by_variant), key=lambda variant: sign * by_variant[variant].mean())
    others = [variant for variant in style.order(by_variant) if variant != best]
    differences = [paired_difference(by_variant[best], by_variant[other]) for other in others]
    adjusted = holm([difference.p for difference in differences])
    return best, [
        Compared(condition, d, p, verdict(d, p, higher_is_better(tables)))
        for d, p in zip(differences, adjusted, strict=True)
    ]


def against_baseline(tables: Tables) -> list[tuple[Row, Difference, str]]:
    """Each variant minus the baseline's fixed value, with its verdict; empty where the study names none."""
    baseline: dict[str, Any] = tables.study.get("baseline") or {}
    if baseline.get("value") is None:
        return []
    table, name, value = tables.final(primary(tables)), str(baseline.get("name")), float(baseline["value"])
    found = []
    for row in rows(tables):
        own = table[(table.variant == row.variant) & (table.condition == row.condition)]
        series = own.set_index("seed").value.rename(row.variant)
        found.append((row, paired_difference(series, (series * 0 + value).rename(name))))
    adjusted = holm([difference.p for _, difference in found])
    return [
        (row, difference, verdict(difference, p, higher_is_better(tables)))
        for (row, difference), p in zip(found, adjusted, strict=True)
    ]


def by_seed(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Values indexed by seed, by variant."""
    return {
        str(variant): part.set_index("seed").value.rename(str(variant))
        for variant, part in table.groupby("variant")
    }
