"""What a study declares about itself, resolved against its runs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from gatescope.analysis import style
from gatescope.analysis.runs import Tables


@dataclass(frozen=True)
class Baseline:
    """A bar to clear: a value of the primary metric that another kind of model reaches."""

    name: str
    value: float
    source: str


def primary(tables: Tables) -> str:
    """The metric that the study compares on: its own choice, else the task's metric on the test split."""
    return str(tables.study.get("primary") or f"test/{tables.task.get('metric', 'loss')}")


def own_metric(tables: Tables, condition: str) -> tuple[str, bool]:
    """What the runs under this condition are compared on, and whether high is good: the study's primary
    metric, or their task's own where none of them has that."""
    name = primary(tables)
    here = tables.runs.condition == condition
    if tables.final(name).value[here].notna().any():
        return name, higher_is_better(tables)
    task = next((found for run in tables.runs.run_id[here] if (found := tables.tasks.get(run))), tables.task)
    return f"test/{task.get('metric', 'loss')}", str(task.get("direction", "max")).startswith("max")


LOW_IS_GOOD = ("loss", "mse", "mae", "error", "nats", "perplexity", "seconds")


def higher_is_better(tables: Tables, metric: str | None = None) -> bool:
    """By the study's direction where it declares a metric, else by the task's; others by their names."""
    if metric not in (None, primary(tables)):
        return not any(word in str(metric) for word in LOW_IS_GOOD)
    source: dict[str, Any] = tables.study if tables.study.get("primary") else tables.task
    return str(source.get("direction", "max")).lower().startswith("max")


def baseline_variants(tables: Tables) -> list[str]:
    """The variants that `study.baseline` names, by themselves or by their cells, in its order."""
    named = tables.study.get("baseline")
    names = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    found: list[str] = []
    for name in names:
        match = tables.runs[(tables.runs.variant == name) | (tables.runs.cell == name)]
        found += [str(variant) for variant in match.variant.unique()]
    return found


def contenders(tables: Tables) -> Tables:
    """The same tables without the baselines' runs: what the study compares."""
    runs = tables.runs[~tables.runs.variant.isin(baseline_variants(tables))]
    return replace(tables, runs=runs)


def baseline(tables: Tables, condition: str, metric: str | None = None) -> Baseline | None:
    """The baseline under this condition: a run of this study, or a value in the study's file.

    Args:
        metric: default: the study's primary.
    """
    declared = tables.study.get("baseline")
    if isinstance(declared, dict) and declared.get("value") is not None:
        name, source = str(declared.get("name", "baseline")), str(declared.get("source") or "")
        return Baseline(name, float(declared["value"]), source)
    values = tables.final(metric or primary(tables))
    holds = holding(tables, condition)
    for variant in baseline_variants(tables):
        mean = float(values.value[(values.variant == variant) & holds].mean())
        if not math.isnan(mean):
            return Baseline(style.split(variant)[0], mean, "computed in this study")
    return None


def holding(tables: Tables, condition: str) -> pd.Series:
    """Which runs count under this condition: those that stand under it, and runs of baselines on which
    nothing that it names bears otherwise (no learning rate makes another linear model)."""
    here = tables.runs.condition == condition
    parts: set[str] = set().union(
        *(tables.axes.get(run, {}).values() for run in tables.runs.run_id[here][:1])
    )
    wider = [set(tables.axes.get(run, {}).values()) <= parts for run in tables.runs.run_id]
    return here | (pd.Series(wider, tables.runs.index) & tables.runs.variant.isin(baseline_variants(tables)))


def reference(tables: Tables) -> str:
    """The variant that others are set against: `study.reference`, else the first in the order of tables."""
    variants = style.order(tables.runs.variant)
    named = tables.study.get("reference")
    return str(named) if named in variants else variants[0]


def conditions(table: pd.DataFrame) -> list[str]:
    """The conditions of a table with their numbers in numeric order."""
    return sorted(table.condition.unique(), key=natural)


def natural(text: str) -> list[tuple[int, float, str]]:
    """A key that sorts "lag=9" before "lag=10", and "lr=1e-05" before "lr=0.001"."""
    parts = re.findall(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?|\D+", text)
    return [(0, float(p), "") if p[0].isdigit() else (1, 0.0, p) for p in parts]
