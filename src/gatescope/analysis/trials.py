"""Trials of a variant: runs of several settings, with the score of each on validation (Dodge et al. 2019)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from gatescope.analysis import study, style
from gatescope.analysis.intervals import Scale, metric_intervals, scale_of
from gatescope.analysis.selection import validated_metric
from gatescope.analysis.statistics import expected_best
from gatescope.analysis.tables import NoData, Tables
from gatescope.analysis.units import mean_by_unit

COLUMNS = ["condition", "variant", "trials", "mean", "low", "high", "n"]


def validation_metric(tables: Tables) -> str:
    """Return the metric on validation that settings are judged by: `study.select.by`, else the task's."""
    if len(tables.trials):
        return validated_metric(tables)
    selecting = tables.study.get("select")
    named = selecting.get("by") if isinstance(selecting, dict) else None
    return str(named or f"validation/{tables.task.get('metric', 'loss')}")


def expected_best_scores(tables: Tables) -> pd.DataFrame:
    """Return the expected best score on validation after each number of trials.

    The settings are the values of `study.select.over`; in a study that selects nothing, those of all keys
    that differ and do not belong to the data. The expectation is computed for each seed over the settings,
    then averaged over the seeds that have all settings. Where no seed has all of them, as in a random search,
    each run is a trial.

    Args:
        tables: all runs of the study.

    Returns:
        `COLUMNS`: a row for each condition, variant and number of trials, with the interval over seeds.

    Raises:
        NoData: no variant has several settings with a score on validation.
    """
    if any((tables.configs[one].get("tune") or {}).get("halving") for one in tables.runs.run_id):
        raise NoData("after successive halving only the best settings have a score of a training in full")
    name = validation_metric(tables)
    sign = 1 if study.higher_is_better(tables, name) else -1
    table = _settings(tables, name)
    table = table.assign(score=sign * table.score)
    table = table[np.isfinite(table.score)]
    rows = [
        found.assign(condition=condition, variant=variant)
        for condition in study.conditions(table)
        for variant in style.order(table.variant[table.condition == condition])
        for own in [table[(table.condition == condition) & (table.variant == variant)]]
        if (found := _curve(own, sign, scale_of(name))) is not None
    ]
    if not rows:
        raise NoData(f"no variant has several settings with a finite best {name.replace('_', ' ')}")
    return pd.concat(rows, ignore_index=True)[COLUMNS]


def _settings(tables: Tables, name: str) -> pd.DataFrame:
    """Return variant, condition, setting, unit and score of each trial, or run of an untuned study."""
    if len(tables.trials):
        table = tables.trials[["variant", "condition", "setting", "unit", "status"]]
        score = pd.to_numeric(tables.trials[f"best/{name}"])
    else:
        parts = [_split(tables, run_id) for run_id in tables.runs.run_id]
        settings, conditions = [own for own, _ in parts], [rest for _, rest in parts]
        table = tables.runs[["variant", "unit", "status"]].assign(condition=conditions, setting=settings)
        score = tables.final(f"best/{name}").value
    return table.assign(score=score.where(table.status == "finished"))


def _split(tables: Tables, run_id: str) -> tuple[str, str]:
    """Split the condition of a run into its setting and the rest."""
    selecting = tables.study.get("select")
    over = selecting.get("over") if isinstance(selecting, dict) else None
    axes = tables.axes.get(run_id, {})
    tuned = {key for key in axes if (key in over if over else key.partition(".")[0] != "data")}
    own, rest = (
        ", ".join(text for key, text in axes.items() if (key in tuned) == wanted) for wanted in (True, False)
    )
    return own, rest


def _curve(own: pd.DataFrame, sign: int, scale: Scale) -> pd.DataFrame | None:
    """Return trials, mean, low, high and n of one variant; None for fewer than two settings."""
    if own.setting.nunique() < 2:
        return None
    wide = mean_by_unit(own.pivot_table(index="setting", columns="unit", values="score"))
    complete = wide.loc[:, wide.notna().all()]
    scores = complete.to_numpy() if complete.shape[1] else own.score.to_numpy()[:, None]
    curves = np.column_stack([expected_best(column) for column in scores.T])
    found = metric_intervals(sign * curves, scale).assign(trials=np.arange(1, len(curves) + 1))
    if not complete.shape[1]:
        found["n"] = len(scores)
        found[["low", "high"]] = math.nan
    return found
