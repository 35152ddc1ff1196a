"""Numbers of the primer that are in the tables of studies: fading gradients, and tests of attention."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from gatescope.analysis import study, style
from gatescope.analysis.attention_tests import NULLS, attention_tests
from gatescope.analysis.faithfulness import evaluations
from gatescope.analysis.gradient_flow import mean_curve, measurements
from gatescope.analysis.statistics import Estimate
from gatescope.analysis.tables import Tables
from gatescope.analysis.units import unit_metric

MOST_LAGS = 51
"""Largest number of lags of a curve that are kept, evenly spaced."""


def fading(tables: Tables) -> dict[str, Any]:
    """Return how much of a gradient is left by lag, cell and step of training.

    Returns:
        By condition: `lags`, `steps`, `lag` of the task, `accuracy` by variant with its number of
        seeds, and `curves` by variant: for each step the geometric mean over seeds, by lag, None where it
        is undefined.
    """
    table = measurements(tables, "loss_free_curve")
    table = table[(table.kind == "curve") & ~table.tested]
    return {
        name: _condition(tables, table[table.condition == name], name) for name in study.conditions(table)
    }


def _condition(tables: Tables, table: pd.DataFrame, condition: str) -> dict[str, Any]:
    means = {
        (str(variant), int(own.step.iloc[0])): mean_curve(own)
        for (variant, _), own in table.groupby(["variant", "step"], sort=True)
    }
    longest = max(len(mean) for mean in means.values())
    lags = np.unique(np.linspace(0, longest - 1, min(longest, MOST_LAGS)).round().astype(int))
    steps = sorted({step for _, step in means})
    accuracy = tables.final("test/accuracy")
    accuracy = accuracy[accuracy.condition == condition]
    variants = style.order(table.variant)
    return {
        "lag": int(tables.runs.lag[tables.runs.condition == condition].iloc[0]),
        "lags": lags.tolist(),
        "steps": steps,
        "accuracy": {
            variant: _estimate(unit_metric(accuracy[accuracy.variant == variant], "proportion"))
            for variant in variants
        },
        "curves": {
            variant: [_values(means.get((variant, step)), lags) for step in steps] for variant in variants
        },
    }


def _values(mean: pd.DataFrame | None, lags: np.ndarray) -> list[float | None]:
    if mean is None:
        return [None] * len(lags)
    values = mean["mean"].reindex(lags)
    return [float(value) if math.isfinite(value) and value > 0 else None for value in values]


def attention(tables: Tables) -> dict[str, Any]:
    """Return the numbers by which attention is judged, and the tests of each variant.

    Returns:
        `evaluations`: by quantity and variant mean, low, high and the value to compare with; `tests`: by
        variant and test whether it is passed; `nulls`: what each test compares with.
    """
    tests: dict[str, dict[str, str]] = {}
    for test in attention_tests(tables):
        tests.setdefault(test.variant, {})[test.test] = test.contrast.judgement
    found: dict[str, dict[str, Any]] = {}
    for one in evaluations(tables):
        found.setdefault(one.quantity, {})[one.variant] = {
            **_estimate(one.estimate),
            "reference": None if math.isnan(one.reference) else one.reference,
        }
    return {"evaluations": found, "tests": tests, "nulls": NULLS}


def scores(tables: Tables) -> dict[str, Any]:
    """Return test accuracy, parameters and seconds an epoch of every variant."""
    return {variant: dict(_score(tables, variant)) for variant in style.order(tables.runs.variant)}


def _score(tables: Tables, variant: str) -> Iterator[tuple[str, Any]]:
    accuracy = tables.final("test/accuracy")
    yield "accuracy", _estimate(unit_metric(accuracy[accuracy.variant == variant], "proportion"))
    runs = tables.runs[tables.runs.variant == variant]
    yield "parameters", int(runs.parameters.iloc[0])
    yield "stack_parameters", int(runs.stack_parameters.iloc[0])


def _estimate(one: Estimate) -> dict[str, Any]:
    bounds = {"low": one.low, "high": one.high}
    return {"mean": one.mean, "n": one.n} | {
        name: None if math.isnan(value) else value for name, value in bounds.items()
    }
