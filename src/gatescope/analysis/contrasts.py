"""Summaries of variants and paired contrasts between them: the parts of a `Comparison`.

Every function takes scores: for each variant a Series of one value per unit, indexed by unit: the seed or, in
a cross-validation, the fold. `overlap` is 0 for seeds; see `gatescope.analysis.units`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from gatescope.analysis import style
from gatescope.analysis.statistics import (
    AHEAD,
    BEHIND,
    Estimate,
    PairedDifference,
    holm,
    paired_difference,
    verdict,
)
from gatescope.analysis.units import unit_values

Scores = Mapping[str, pd.Series]
"""Values of one metric under one condition: by variant, indexed by unit."""


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
        difference: A − B, paired by unit.
        adjusted_p: the p value of `difference`, adjusted for the family of contrasts (Holm).
        verdict: see `statistics.verdict`.
    """

    condition: str
    variant: str
    reference: str
    difference: PairedDifference
    adjusted_p: float
    verdict: str

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
    """Return the scores of a table with the columns variant, unit, value."""
    return {
        str(variant): unit_values(part).rename(str(variant)) for variant, part in table.groupby("variant")
    }


def without_missing(scores: Scores) -> dict[str, pd.Series]:
    """Return the scores without missing values, and without variants that have no value."""
    known = {variant: values.dropna() for variant, values in scores.items()}
    return {variant: values for variant, values in known.items() if len(values)}


def contrasts_with(
    scores_by_condition: Mapping[str, Scores],
    reference: str,
    higher_is_better: bool,
    overlaps: Mapping[str, float] = MappingProxyType({}),
) -> tuple[Contrast, ...]:
    """Compare every variant with the reference under every condition; all contrasts form one family."""
    pairs = []
    for condition, own in scores_by_condition.items():
        scores = without_missing(own)
        if reference in scores:
            others = [variant for variant in style.order(scores) if variant != reference]
            pairs += [(condition, scores[other], scores[reference]) for other in others]
    return _family(pairs, higher_is_better, overlaps)


def contrasts_with_value(
    condition: str, scores: Scores, name: str, value: float, higher_is_better: bool, overlap: float = 0.0
) -> tuple[Contrast, ...]:
    """Compare every variant with a constant, such as the value of a baseline."""
    pairs = [
        (condition, scores[variant], (scores[variant] * 0 + value).rename(name))
        for variant in style.order(scores)
    ]
    return _family(pairs, higher_is_better, {condition: overlap})


def leader(condition: str, scores: Scores, higher_is_better: bool, overlap: float = 0.0) -> Leader | None:
    """Return the variant with the best mean, or None without values."""
    known = without_missing(scores)
    if not known:
        return None
    sign = 1 if higher_is_better else -1
    variants = style.order(known)
    best = max(variants, key=lambda variant: sign * known[variant].mean())
    pairs = [(condition, known[best], known[other]) for other in variants if other != best]
    return Leader(best, _family(pairs, higher_is_better, {condition: overlap}))


def _family(
    pairs: Iterable[tuple[str, pd.Series, pd.Series]], higher_is_better: bool, overlaps: Mapping[str, float]
) -> tuple[Contrast, ...]:
    """Compare pairs of named Series (condition, A, B), with p values adjusted for all of them."""
    pairs = list(pairs)
    differences = [paired_difference(a, b, overlap=overlaps.get(c, 0.0)) for c, a, b in pairs]
    adjusted = [float(p) for p in holm([one.p for one in differences])]
    return tuple(
        Contrast(condition, str(a.name), str(b.name), one, p, verdict(one, p, higher_is_better))
        for (condition, a, b), one, p in zip(pairs, differences, adjusted, strict=True)
    )


def paired_contrasts(
    condition: str,
    scores: Scores,
    pairs: Iterable[tuple[str, str]],
    higher_is_better: bool,
    overlap: float = 0.0,
) -> tuple[Contrast, ...]:
    """Compare given pairs of variants (A, B) under one condition, as one family."""
    parts = ((condition, scores[a], scores[b]) for a, b in pairs)
    return _family(parts, higher_is_better, {condition: overlap})
