"""Evaluations of attention as an explanation, by variant, at the tested weights.

docs/instruments.md defines the measurements. Sources: Jain & Wallace 2019 (agreement with other importance
measures, permutation, difference between seeds); DeYoung et al. 2020 (comprehensiveness, sufficiency).
"""

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
from gatescope.analysis.intervals import Scale
from gatescope.analysis.items import Items, variance_of
from gatescope.analysis.statistics import Estimate
from gatescope.analysis.tables import NoData, Tables
from gatescope.analysis.units import unit_metric

TAU = {
    "gradient_input/token": "τ: gradient × input",
    "leave_one_out/token": "τ: leave-one-out",
    "integrated_gradients/token": "τ: integrated gradients",
}
PERMUTED = "total variation if permuted"
ERASURE = {"comprehensiveness": "comprehensiveness", "sufficiency": "sufficiency"}
SEEDS = "divergence between seeds"
LN_2 = math.log(2)
"""The greatest Jensen-Shannon divergence, in nats."""
QUANTITIES = (*TAU.values(), PERMUTED, *ERASURE.values(), SEEDS)
"""All quantities, in the order of figures and tables."""


@dataclass(frozen=True)
class AttentionEvaluation:
    """One quantity of one variant under one condition.

    Attributes:
        condition: the condition.
        quantity: one of `QUANTITIES`.
        variant: the variant.
        estimate: mean over seeds.
        reference: what the estimate is judged by. For τ, the standard deviation of the mean over examples
            if the weights are permuted within each; for erasure, the value of a random ranking; for the
            difference between seeds, its upper bound ln 2; NaN for permutation.
    """

    condition: str
    quantity: str
    variant: str
    estimate: Estimate
    reference: float


def evaluations(tables: Tables) -> list[AttentionEvaluation]:
    """Return every quantity that was measured, of every variant and condition, in order.

    Raises:
        NoData: no finished run has any.
    """
    result = [*_scalar_evaluations(tables), *seed_differences(tables)]
    if not result:
        raise NoData(
            "no finished run has measurements of the faithfulness of attention: choose instruments=full"
        )
    return sorted(result, key=lambda one: QUANTITIES.index(one.quantity))


def _scalar_evaluations(tables: Tables) -> Iterator[AttentionEvaluation]:
    scalars = [
        *((f"tau/{name}", label, f"tau/{name}/permuted_spread") for name, label in TAU.items()),
        ("permutation/total_variation", PERMUTED, None),
        *((f"{name}/attention", label, f"{name}/random") for name, label in ERASURE.items()),
    ]
    for name, label, reference in scalars:
        table = tested_measurements(tables, name)
        references = tested_measurements(tables, reference) if reference else table.iloc[:0]
        for condition in study.conditions(table):
            for variant in style.order(table.variant[table.condition == condition]):
                own, own_reference = (
                    part[(part.variant == variant) & (part.condition == condition)]
                    for part in (table, references)
                )
                scale: Scale = "correlation" if label in TAU.values() else "proportion"
                items = variance_of(example_items(tables, name.removeprefix("tau/"), condition).get(variant))
                estimate = unit_metric(own, scale, items)
                yield AttentionEvaluation(
                    condition, label, variant, estimate, float(own_reference.value.mean())
                )


def tested_measurements(tables: Tables, pattern: str) -> pd.DataFrame:
    """Return the measurements `attention/<pattern>` of the tested weights of every run that is compared."""
    table = study.contenders(tables).of_tested(f"attention/{pattern}")
    return table[table.kind != "undefined"]


def example_items(tables: Tables, measure: str, condition: str) -> dict[str, Items]:
    """Return τ of each example, a mean over seeds, of every variant whose runs recorded it.

    Runs of different folds have none: they share no example.

    Args:
        tables: the runs.
        measure: measure of importance, such as "leave_one_out/token".
        condition: the condition.
    """
    table = tested_measurements(tables, f"tau/{measure}/examples")
    table = table[(table.condition == condition) & (table.overlap == 0)]
    found = {}
    for variant, own in table.groupby("variant"):
        rows = [pd.Series(one["columns"]["tau"], one["columns"]["id"]) for one in own.payload]
        mean = pd.concat(rows, axis=1).dropna().mean(axis=1).sort_index()
        if len(mean) > 1:
            found[str(variant)] = Items(mean.index.to_numpy(), mean.to_numpy())
    return found


def seed_differences(tables: Tables) -> Iterator[AttentionEvaluation]:
    """Compute how much the weights of two runs differ that differ in their seed only, in nats.

    This is the floor for any difference between weights (Jain & Wallace 2019): the mean over pairs of seeds
    and the examples that both recorded. Pairs share seeds, so that there is no interval. Runs of different
    folds have no example in common and make no pair.
    """
    table = tested_measurements(tables, "weights")
    for (condition, variant), own in table.groupby(["condition", "variant"], sort=False):
        divergences = [
            _divergence(a, b)
            for _, fold in own.groupby("fold", dropna=False)
            for a, b in combinations(fold.payload, 2)
        ]
        finite = [value for value in divergences if math.isfinite(value)]
        if finite:
            mean = Estimate(float(np.mean(finite)), math.nan, math.nan, len(own))
            yield AttentionEvaluation(str(condition), SEEDS, str(variant), mean, LN_2)


def _divergence(a: dict[str, Any], b: dict[str, Any]) -> float:
    """Return the mean Jensen-Shannon divergence over common examples; NaN if there are none."""
    rows = [dict(zip(payload["y"], payload["values"], strict=True)) for payload in (a, b)]
    common = [name for name in rows[0] if name in rows[1] and len(rows[0][name]) == len(rows[1][name])]
    if not common:
        return math.nan
    p, q = (np.array([row[name] for name in common]) for row in rows)
    return float(np.mean(jensenshannon(p, q, axis=1) ** 2))
