"""Summaries of variants and paired contrasts between them: the parts of a `Comparison`.

Every function takes scores: for each variant a Series of one value per unit, indexed by unit: the seed or, in
a cross-validation, the fold. The contrasts of one call form a family, with simultaneous intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from gatescope.analysis import style
from gatescope.analysis.statistics import (
    AHEAD,
    BEHIND,
    MOST_SEEDS,
    UNDECIDED,
    Estimate,
    ItemVariance,
    PairedDifference,
    compare_family,
    seeds_to_decide,
    verdict,
)
from gatescope.analysis.units import unit_values

Scores = Mapping[str, pd.Series]
"""Values of one metric under one condition: by variant, indexed by unit."""
ItemsOfPair = Callable[[str, str, str], ItemVariance | None]
"""From condition, variant A and variant B: the variance of A − B over test items, where it is known."""


@dataclass(frozen=True)
class Rules:
    """How contrasts are judged.

    Attributes:
        higher_is_better: direction of the metric.
        margin: largest difference that does not matter (`study.margin`); None if none is declared.
        items: the variance over test items of a pair.
        overlaps: by condition, the correction for the folds of a cross-validation; 0 where it has none.
        largest: largest possible difference, at which intervals end: 1 for proportions.
    """

    higher_is_better: bool
    margin: float | None = None
    items: ItemsOfPair = lambda condition, a, b: None
    overlaps: Mapping[str, float] = field(default_factory=dict)
    largest: float = math.inf


@dataclass(frozen=True)
class VariantSummary:
    """The results of one variant under one condition.

    Attributes:
        variant: the variant.
        condition: the condition; "" where all runs share one.
        metrics: mean over seeds of each test metric.
        parameters: mean number of parameters of the whole model, embedding and head included.
        between_parameters: mean number of parameters between embedding and head; NaN in records that do not
            contain it.
        seconds_per_epoch: mean over seeds.
        n: number of seeds with a finite value of the primary metric, or, where no seed has one, of the metric
            that most seeds have.
    """

    variant: str
    condition: str
    metrics: dict[str, Estimate]
    parameters: float
    between_parameters: float
    seconds_per_epoch: Estimate
    n: int


@dataclass(frozen=True)
class Contrast:
    """One variant against another under one condition.

    Attributes:
        condition: the condition.
        variant: A, the variant that is compared.
        reference: B, what it is compared with: a variant or a baseline.
        difference: A − B, paired by unit, with the simultaneous interval of its family.
        adjusted_p: the p value of `difference`, adjusted for the family of contrasts (Bonferroni).
        verdict: see `statistics.verdict`.
        seeds_needed: about how many seeds would decide an undecided contrast; None where no number of seeds
            up to `statistics.MOST_SEEDS` would, and for contrasts that are decided.
    """

    condition: str
    variant: str
    reference: str
    difference: PairedDifference
    adjusted_p: float
    verdict: str
    seeds_needed: int | None = None

    @property
    def judgement(self) -> str:
        """The verdict, and for an undecided contrast what would decide it."""
        if self.verdict != UNDECIDED or self.difference.overlap:  # the number of folds is no sample size
            return self.verdict
        if self.seeds_needed is not None:
            return f"{UNDECIDED} (about {self.seeds_needed} seeds would decide it)"
        has_items = self.difference.items is not None
        return f"{UNDECIDED} (needs {'a larger test set' if has_items else f'over {MOST_SEEDS:,} seeds'})"

    @property
    def holds(self) -> bool:
        """Whether the difference may be claimed."""
        return self.verdict in (AHEAD, BEHIND)


@dataclass(frozen=True)
class Leader:
    """The variant with the best mean, and its contrasts with every other variant, one family."""

    variant: str
    contrasts: tuple[Contrast, ...]

    @property
    def ahead_of_all(self) -> bool:
        """Whether there are other variants and it is ahead of each of them."""
        return bool(self.contrasts) and all(one.verdict == AHEAD for one in self.contrasts)


def scores_by_unit(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the scores of a table with the columns variant, unit, overlap and value."""
    return {
        str(variant): unit_values(part).rename(str(variant)) for variant, part in table.groupby("variant")
    }


def without_missing(scores: Scores) -> dict[str, pd.Series]:
    """Return the scores without missing values, and without variants that have no value."""
    known = {variant: values.dropna() for variant, values in scores.items()}
    return {variant: values for variant, values in known.items() if len(values)}


def contrasts_with(
    scores_by_condition: Mapping[str, Scores], reference: str, rules: Rules
) -> tuple[Contrast, ...]:
    """Compare every variant with the reference under every condition; all contrasts form one family."""
    pairs = []
    for condition, own in scores_by_condition.items():
        scores = without_missing(own)
        if reference in scores:
            others = [variant for variant in style.order(scores) if variant != reference]
            pairs += [(condition, scores[other], scores[reference]) for other in others]
    return _family(pairs, rules)


def contrasts_with_value(
    condition: str, scores: Scores, name: str, value: float | pd.Series, rules: Rules
) -> tuple[Contrast, ...]:
    """Compare every variant with a baseline: a constant, or a value for each unit."""
    pairs = [
        (condition, scores[variant], (scores[variant] * 0 + value).rename(name))
        for variant in style.order(scores)
    ]
    return _family(pairs, rules)


def paired_contrasts(
    scores_by_condition: Mapping[str, Scores], pairs: Iterable[Sequence[str]], rules: Rules
) -> tuple[Contrast, ...]:
    """Compare given pairs of variants (A, B) under every condition that has both, as one family."""
    wanted = [tuple(pair) for pair in pairs]
    found = []
    for condition, own in scores_by_condition.items():
        scores = without_missing(own)
        found += [(condition, scores[a], scores[b]) for a, b in wanted if a in scores and b in scores]
    return _family(found, rules)


def leader(condition: str, scores: Scores, rules: Rules) -> Leader | None:
    """Return the variant with the best mean, or None without values.

    Which variant leads is chosen by the values that its contrasts are computed from. The family therefore
    counts all pairs of variants, so that the intervals hold whichever variant is chosen.
    """
    known = without_missing(scores)
    if not known:
        return None
    sign = 1 if rules.higher_is_better else -1
    variants = style.order(known)
    best = max(variants, key=lambda variant: sign * known[variant].mean())
    pairs = [(condition, known[best], known[other]) for other in variants if other != best]
    return Leader(best, _family(pairs, rules, tests=len(variants) * (len(variants) - 1) // 2))


def _family(
    pairs: Iterable[tuple[str, pd.Series, pd.Series]], rules: Rules, tests: int = 0
) -> tuple[Contrast, ...]:
    """Compare pairs of named Series (condition, A, B) as one family."""
    pairs = list(pairs)
    family = compare_family(
        [(a, b, rules.items(condition, str(a.name), str(b.name))) for condition, a, b in pairs],
        tests=tests,
        overlaps=[rules.overlaps.get(condition, 0.0) for condition, _, _ in pairs],
    )
    found = []
    for (condition, a, b), one in zip(pairs, family.differences, strict=True):
        judged = verdict(one, family.tests, rules.higher_is_better, rules.margin)
        needed = seeds_to_decide(one, family.tests, rules.margin) if judged == UNDECIDED else None
        p = float(np.minimum(1.0, one.p * family.tests))  # NaN stays NaN
        ends = [
            float(np.clip(end, -rules.largest, rules.largest))
            for end in (one.estimate.low, one.estimate.high)
        ]
        shown = replace(one, estimate=replace(one.estimate, low=ends[0], high=ends[1]))
        found.append(Contrast(condition, str(a.name), str(b.name), shown, p, judged, needed))
    return tuple(found)
