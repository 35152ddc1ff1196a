"""What a study declares about itself, resolved against its runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from gatescope.analysis import style
from gatescope.analysis.tables import Tables
from gatescope.tracking.variants import natural

LOW_IS_GOOD = ("loss", "nll", "bpc", "mse", "mae", "error", "brier", "nats", "perplexity", "seconds")
"""Words in the names of metrics for which lower is better."""


@dataclass(frozen=True)
class Baseline:
    """The value of a metric that another kind of model reaches.

    Attributes:
        name: the model.
        value: its value, a mean over seeds if it has several.
        source: where the value comes from.
    """

    name: str
    value: float
    source: str


def primary(tables: Tables) -> str:
    """Return the metric that variants are compared on: `study.primary`, else the task's test metric."""
    return str(tables.study.get("primary") or f"test/{tables.task.get('metric', 'loss')}")


def own_metric(tables: Tables, condition: str) -> tuple[str, bool]:
    """Return the metric that the runs of one condition are compared on, and whether higher is better.

    This is the study's primary metric, or, where none of these runs has it, the test metric of their task.
    """
    name = primary(tables)
    in_condition = tables.runs.condition == condition
    if tables.final(name).value[in_condition].notna().any():
        return name, higher_is_better(tables)
    run_ids = tables.runs.run_id[in_condition]
    task = next((own for run_id in run_ids if (own := tables.tasks.get(run_id))), tables.task)
    return f"test/{task.get('metric', 'loss')}", str(task.get("direction", "max")).startswith("max")


def higher_is_better(tables: Tables, metric: str | None = None) -> bool:
    """Return the direction of a metric.

    Args:
        tables: the study.
        metric: default: the primary metric, whose direction is `study.direction` where the study declares
            `study.primary`, else the task's. The direction of any other metric is that of a task whose metric
            it is, or of the monitor of a run, or follows from its name.
    """
    if metric not in (None, primary(tables)):
        for own in (own for task in tables.tasks.values() for own in (task.get("monitor") or {}, task)):
            if own.get("metric") and str(metric).rpartition("/")[2] == own["metric"]:
                return str(own.get("direction", "max")).startswith("max")
        return not any(word in str(metric) for word in LOW_IS_GOOD)
    source: dict[str, Any] = tables.study if tables.study.get("primary") else tables.task
    return str(source.get("direction", "max")).lower().startswith("max")


def baseline_variants(tables: Tables) -> list[str]:
    """Return the variants that `study.baseline` names (by variant or by cell), in its order."""
    named = tables.study.get("baseline")
    names = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    variants: list[str] = []
    for name in names:
        match = tables.runs[(tables.runs.variant == name) | (tables.runs.cell == name)]
        variants += [str(variant) for variant in match.variant.unique()]
    return variants


def contenders(tables: Tables) -> Tables:
    """Return the tables without the runs of baselines: the runs that the study compares."""
    runs = tables.runs[~tables.runs.variant.isin(baseline_variants(tables))]
    return replace(tables, runs=runs)


def baseline(tables: Tables, condition: str, metric: str | None = None) -> Baseline | None:
    """Return the baseline of one condition: a run of this study, or a value that the study declares.

    Args:
        tables: the study, baselines included.
        condition: the condition.
        metric: default: the primary metric.
    """
    declared = tables.study.get("baseline")
    if isinstance(declared, dict) and declared.get("value") is not None:
        name, source = str(declared.get("name", "baseline")), str(declared.get("source") or "")
        return Baseline(name, float(declared["value"]), source)
    values = tables.final(metric or primary(tables))
    valid = valid_under(tables, condition)
    for variant in baseline_variants(tables):
        mean = float(values.value[(values.variant == variant) & valid].mean())
        if not math.isnan(mean):
            return Baseline(style.split(variant)[0], mean, "computed in this study")
    return None


def published(tables: Tables, condition: str) -> list[dict[str, Any]]:
    """Return what others report on the data of a condition (`study.published`): model, value and source."""
    run_ids = tables.runs.run_id[tables.runs.condition == condition]
    nodes = (tables.configs.get(run_id, {}).get("study") or {} for run_id in run_ids)
    return next((list(found) for node in nodes if (found := node.get("published"))), [])


def valid_under(tables: Tables, condition: str) -> pd.Series:
    """Return a mask of the runs that are valid under a condition.

    These are the condition's own runs, and runs of baselines whose settings do not contradict it: a learning
    rate does not apply to a linear model.
    """
    in_condition = tables.runs.condition == condition
    parts: set[str] = set().union(
        *(tables.axes.get(run_id, {}).values() for run_id in tables.runs.run_id[in_condition][:1])
    )
    agrees = [set(tables.axes.get(run_id, {}).values()) <= parts for run_id in tables.runs.run_id]
    of_baseline = tables.runs.variant.isin(baseline_variants(tables))
    return in_condition | (pd.Series(agrees, tables.runs.index) & of_baseline)


def reference(tables: Tables) -> str:
    """Return the variant that others are compared with: `study.reference`, else the first in table order.

    Returns:
        "" where there are no runs.
    """
    variants = style.order(tables.runs.variant)
    named = tables.study.get("reference")
    return str(named) if named in variants else next(iter(variants), "")


def conditions(table: pd.DataFrame) -> list[str]:
    """Return the distinct values of the column `condition`, numbers within them in numeric order."""
    return sorted(table.condition.unique(), key=natural)
