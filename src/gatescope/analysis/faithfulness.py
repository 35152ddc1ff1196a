"""Readings of attention on trial for the figure and the findings: by variant, at the tested weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon

from gatescope.analysis import study, style
from gatescope.analysis.figures.base import NoData
from gatescope.analysis.runs import Tables
from gatescope.analysis.statistics import Estimate, mean_interval

TAU = {
    "gradient_input/token": "τ: gradient × input",
    "leave_one_out/token": "τ: leave-one-out",
    "integrated_gradients/token": "τ: integrated gradients",
}
PERMUTED = "weights permuted (TV)"
ERASURE = {"comprehensiveness": "comprehensiveness", "sufficiency": "sufficiency"}
SEEDS = "between seeds (JSD)"
LN_2 = math.log(2)
"""The greatest Jensen-Shannon divergence, in nats."""


@dataclass(frozen=True)
class Trial:
    """One variant on one quantity. `reference` is what chance gives, NaN for nothing: for τ one example's
    spread under independence, for erasure a random ranking; for a difference between seeds its bound ln 2."""

    condition: str
    quantity: str
    variant: str
    estimate: Estimate
    reference: float


def last(tables: Tables, pattern: str) -> pd.DataFrame:
    """The reading `attention/<pattern>` of every run that is compared, of its tested weights."""
    table = study.contenders(tables).of_tested(f"attention/{pattern}")
    return table[table.kind != "undefined"]


def trials(tables: Tables) -> list[Trial]:
    """Every quantity that was read, of every variant and condition, in order.

    Raises:
        NoData: no finished run has any.
    """
    found = list(_trials(tables))
    if not found:
        raise NoData("no finished run has readings of attention on trial (instruments=full)")
    places = {name: at for at, name in enumerate([*TAU.values(), PERMUTED, *ERASURE.values(), SEEDS])}
    return sorted(found, key=lambda one: places[one.quantity])


def _trials(tables: Tables) -> Iterator[Trial]:
    scalars = [
        *((f"tau/{name}", label, "tau/null_spread") for name, label in TAU.items()),
        ("permutation/total_variation", PERMUTED, None),
        *((f"{name}/attention", label, f"{name}/random") for name, label in ERASURE.items()),
    ]
    for name, label, reference in scalars:
        table = last(tables, name)
        chance = last(tables, reference) if reference else table.iloc[:0]
        for condition in study.conditions(table):
            for variant in style.order(table.variant[table.condition == condition]):
                here = {"variant": variant, "condition": condition}
                estimate = mean_interval(_of(table, here).value)
                yield Trial(condition, label, variant, estimate, float(_of(chance, here).value.mean()))
    yield from seed_differences(tables)


def _of(table: pd.DataFrame, where: dict[str, str]) -> pd.DataFrame:
    return table[np.logical_and.reduce([table[name] == value for name, value in where.items()])]


def seed_differences(tables: Tables) -> Iterator[Trial]:
    """How far the weights of two runs that differ in their seed alone are apart, in nats: the floor for any
    difference between weights (Jain & Wallace 2019). Mean over pairs of seeds and the examples both recorded;
    pairs share seeds, so that there is no interval."""
    table = last(tables, "weights")
    for (condition, variant), own in table.groupby(["condition", "variant"], sort=False):
        pairs = [_divergence(a, b) for a, b in combinations(own.payload, 2)]
        known = [value for value in pairs if math.isfinite(value)]
        if known:
            mean = Estimate(float(np.mean(known)), math.nan, math.nan, len(own))
            yield Trial(str(condition), SEEDS, str(variant), mean, LN_2)


def _divergence(a: dict[str, Any], b: dict[str, Any]) -> float:
    """Mean Jensen-Shannon divergence in nats over common examples; NaN where there is none."""
    rows = [dict(zip(payload["y"], payload["values"], strict=True)) for payload in (a, b)]
    common = [name for name in rows[0] if name in rows[1] and len(rows[0][name]) == len(rows[1][name])]
    if not common:
        return math.nan
    p, q = (np.array([row[name] for name in common]) for row in rows)
    return float(np.mean(jensenshannon(p, q, axis=1) ** 2))
