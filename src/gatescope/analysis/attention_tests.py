"""Tests of attention as an explanation: each quantity against a null that was measured in the same study.

- "permuted": τ with leave-one-out exceeds that of the same model's weights, permuted within each example. Its
  expectation over permutations is exactly 0 for every example.
- "frozen": it exceeds τ of the model with the same cell and frozen random weights, paired by seed and by
  example.
- "weight": permuting the weights changes predictions by more than `MIN_CHANGE`.
- "comprehensiveness", "sufficiency": each exceeds that of a random ranking of the steps, paired by seed.

All tests under one condition are one family with simultaneous intervals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gatescope.analysis import contrasts, study, style
from gatescope.analysis.contrasts import Contrast, Rules, Scores
from gatescope.analysis.faithfulness import ERASURE, PERMUTED, TAU, example_items, tested_measurements
from gatescope.analysis.items import Items, variance_of
from gatescope.analysis.statistics import AHEAD, ItemVariance
from gatescope.analysis.tables import Tables
from gatescope.analysis.units import unit_values

ADVERSARIAL = "adversarial"
"""The attention that is trained to differ from the learned one."""
ABLATIONS = ("uniform", "frozen_random", "mean", "max", "none", ADVERSARIAL)
"""Attentions whose weights are not learned for the predictions."""
MIN_CHANGE = 0.1
"""Least median total variation under permutation at which weights matter for a prediction.

Jain & Wallace 2019 draw their conclusions from such medians."""
LEAVE_ONE_OUT = "leave_one_out/token"
"""The measure of importance whose τ is tested."""
NULLS = {
    "permuted": "its permuted weights",
    "frozen": "frozen random attention",
    "weight": f"a change of {MIN_CHANGE}",
    "comprehensiveness": "a random ranking",
    "sufficiency": "a random ranking",
}
"""By test, in order, what a variant is compared with."""
FAILED = {
    "permuted": "agreement",
    "frozen": "agreement beyond frozen random attention",
    "weight": "weight",
    "comprehensiveness": "erasure",
    "sufficiency": "erasure",
}
"""By test, its name in the list of those that a variant fails."""
QUANTITY = {
    "permuted": TAU[LEAVE_ONE_OUT],
    "frozen": TAU[LEAVE_ONE_OUT],
    "weight": PERMUTED,
    "comprehensiveness": "comprehensiveness",
    "sufficiency": "sufficiency",
}
"""By test, what is compared."""


@dataclass(frozen=True)
class AttentionTest:
    """One test of one variant.

    Attributes:
        condition: the condition.
        test: one of `NULLS`.
        variant: the variant.
        contrast: its value minus that of the null, with the simultaneous interval of the condition's family.
    """

    condition: str
    test: str
    variant: str
    contrast: Contrast

    @property
    def passed(self) -> bool:
        """Whether the value is above that of the null."""
        return self.contrast.verdict == AHEAD


def attention_tests(tables: Tables) -> list[AttentionTest]:
    """Return every test of every variant with learned weights; one family for each condition."""
    runs = study.contenders(tables).runs
    return [one for condition in study.conditions(runs) for one in _tests(tables, condition)]


def _tests(tables: Tables, condition: str) -> Iterator[AttentionTest]:
    tau = _values(tables, condition, f"tau/{LEAVE_ONE_OUT}")
    change = _values(tables, condition, "permutation/total_variation")
    scores: dict[str, pd.Series] = {}
    pairs: dict[tuple[str, str], tuple[str, str]] = {}

    def add(test: str, variant: str, value: pd.Series, null: pd.Series, against: str) -> None:
        a, b = f"{test}/{variant}", f"{test}/{variant} against {against}"
        scores[a], scores[b] = value.rename(a), null.rename(b)
        pairs[a, b] = test, variant

    erasure = {
        test: [_values(tables, condition, f"{test}/{ranking}") for ranking in ("attention", "random")]
        for test in ERASURE
    }
    for variant in style.order({*tau, *change, *(name for pair in erasure.values() for name in pair[0])}):
        cell, attention = style.split(variant)
        frozen = f"{cell}-frozen_random"
        if attention in ABLATIONS:
            continue
        if variant in tau:
            add("permuted", variant, tau[variant], tau[variant] * 0, "permuted weights")
        if variant in tau and frozen in tau:
            add("frozen", variant, tau[variant], tau[frozen], frozen)
        if variant in change:
            add("weight", variant, change[variant], change[variant] * 0 + MIN_CHANGE, "a constant")
        for test, (own, random) in erasure.items():
            if variant in own and variant in random:
                add(test, variant, own[variant], random[variant], "random")
    items = example_items(tables, LEAVE_ONE_OUT, condition)

    def variance(_: str, a: str, b: str) -> ItemVariance | None:
        test, variant = pairs[a, b]
        if test == "permuted":
            return variance_of(items.get(variant))
        frozen = items.get(f"{style.split(variant)[0]}-frozen_random")
        return _variance_of_difference(items.get(variant), frozen) if test == "frozen" else None

    for one in contrasts.paired_contrasts({condition: scores}, pairs, Rules(True, items=variance)):
        test, variant = pairs[one.variant, one.reference]
        yield AttentionTest(condition, test, variant, one)


def _values(tables: Tables, condition: str, name: str) -> Scores:
    """Return the values of one measurement by variant and unit."""
    table = tested_measurements(tables, name)
    table = table[table.condition == condition].dropna(subset=["value"])
    return {str(variant): unit_values(own) for variant, own in table.groupby("variant")}


def _variance_of_difference(a: Items | None, b: Items | None) -> ItemVariance | None:
    """Return the variance over the examples that both have, as an example without an order has no τ."""
    if a is None or b is None:
        return None
    ids, rows, others = np.intersect1d(a.ids, b.ids, return_indices=True)
    return variance_of(Items(ids, a.values[rows] - b.values[others])) if len(ids) > 1 else None
