"""How far gradients reach back in time, before and after training: estimates over seeds.

docs/instruments.md defines the quantities; `gradient_flow` has the measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from gatescope.analysis import study, style
from gatescope.analysis.gradient_flow import ALIVE, END, START, ends, format_lost, measurements
from gatescope.analysis.statistics import (
    LEVEL,
    Estimate,
    PairedDifference,
    compare_family,
)
from gatescope.analysis.tables import Tables
from gatescope.analysis.units import overlap, unit_interval, unit_metric, unit_values


@dataclass(frozen=True)
class SignalReach:
    """How far a gradient reaches back in time, for one variant at one time.

    Means are over the seeds whose gradient is neither dead nor exploded.

    Attributes:
        rate: decay rate in nats per step; negative where the gradient vanishes.
        half_life: in steps.
        reach: largest lag, in steps, at which more than 1 % of the norm remains. Where `censored` is not 0,
            its mean is too small and has no interval: see `reaches`.
        censored: number of seeds whose reach is the largest lag that was measured, or more.
        reaches: the reach of each seed, sorted.
        lost: the seeds that are in no mean, such as "1 of 5 dead"; "" if there are none.
    """

    rate: Estimate
    half_life: Estimate
    reach: Estimate
    censored: int
    reaches: tuple[float, ...] = ()
    lost: str = ""

    @property
    def median_reach(self) -> float:
        """The median reach, which seeds at the bound do not bias as long as they are fewer than half."""
        return float(np.median(self.reaches)) if self.reaches else math.nan

    @property
    def grows(self) -> bool:
        """Whether the gradient grows backwards in time: the mean rate is positive, and so is its interval."""
        return self.rate.mean > 0 and not self.rate.low <= 0


@dataclass(frozen=True)
class RateChange:
    """How training changed the decay rate of one variant.

    Attributes:
        variant: the variant.
        difference: rate after training minus rate before it, paired by seed.
        adjusted_p: its p value, adjusted for all variants of the condition (Bonferroni).
    """

    variant: str
    difference: PairedDifference
    adjusted_p: float

    @property
    def tested(self) -> bool:
        """Whether there is a t test: the difference is not the same in all seeds."""
        return not math.isnan(self.difference.p)

    @property
    def significant(self) -> bool:
        """Whether the adjusted p value is below 1 − `LEVEL`."""
        return self.adjusted_p < 1 - LEVEL


@dataclass(frozen=True)
class GradientFlow:
    """The gradient flow of a study before and after training.

    Attributes:
        seeds: number of distinct seeds with a measurement.
        reach: by condition, variant and time (`START`, `END`). A variant is included where it was measured at
            both times.
        changes: by condition, the changes of the decay rate of the variants without a lost seed.
        lags: by condition, the task's lag in steps, where all runs share one.
    """

    seeds: int
    reach: dict[str, dict[str, dict[str, SignalReach]]]
    changes: dict[str, tuple[RateChange, ...]]
    lags: dict[str, float]


def summarize(tables: Tables, contenders: Tables, rates: pd.DataFrame) -> GradientFlow:
    """Summarize the gradient flow of finished runs.

    Args:
        tables: the runs that are compared.
        contenders: the same without the runs of baselines.
        rates: their decay rates, from `decay_rates`.

    Raises:
        NoData: no run has measurements of gradient flow.
    """
    at = {"rates": ends(rates)} | {
        name: ends(measurements(tables, f"loss_free_{name}")) for name in ("reach", "reach_censored")
    }
    variants = style.order(contenders.runs.variant)
    reach: dict[str, dict[str, dict[str, SignalReach]]] = {}
    changes: dict[str, tuple[RateChange, ...]] = {}
    lags: dict[str, float] = {}
    for condition in study.conditions(rates):
        reach[condition] = _reach_of_variants(at, variants, condition)
        complete = [v for v, own in reach[condition].items() if not any(one.lost for one in own.values())]
        changes[condition] = _rate_changes(at["rates"], complete, condition)
        own_lags = tables.runs.lag[tables.runs.condition == condition].dropna().unique()
        if len(own_lags) == 1:
            lags[condition] = float(own_lags[0])
    return GradientFlow(int(rates.unit.nunique()), reach, changes, lags)


def _reach_of_variants(
    at: dict[str, dict[str, pd.DataFrame]], variants: list[str], condition: str
) -> dict[str, dict[str, SignalReach]]:
    result: dict[str, dict[str, SignalReach]] = {}
    for variant in variants:
        by_time: dict[str, SignalReach] = {}
        for time in (START, END):
            own = [_select(table[time], variant, condition) for table in at.values()]
            if len(own[0]):
                by_time[time] = signal_reach(*own)
        if len(by_time) == 2:
            result[variant] = by_time
    return result


def _rate_changes(
    rates: dict[str, pd.DataFrame], variants: list[str], condition: str
) -> tuple[RateChange, ...]:
    pairs, overlaps = [], []
    for variant in variants:
        own = [_select(rates[time], variant, condition) for time in (START, END)]
        start, end = map(unit_values, own)
        pairs.append((end, start, None))
        overlaps.append(overlap(own[1]))
    family = compare_family(pairs, overlaps=overlaps)
    adjusted = [float(np.minimum(1.0, one.p * family.tests)) for one in family.differences]
    return tuple(RateChange(*parts) for parts in zip(variants, family.differences, adjusted, strict=True))


def _select(table: pd.DataFrame, variant: str, condition: str) -> pd.DataFrame:
    return table[(table.variant == variant) & (table.condition == condition)]


def signal_reach(rates: pd.DataFrame, reaches: pd.DataFrame, censored: pd.DataFrame) -> SignalReach:
    """Compute the estimates of one variant at one time.

    Args:
        rates: decay rates with their `status`, a row per seed, from `decay_rates`.
        reaches: the measurements `loss_free_reach`.
        censored: the measurements `loss_free_reach_censored`.
    """
    rate = unit_interval(rates)
    alive = set(rates.run_id[rates.status == ALIVE])
    own = reaches[reaches.run_id.isin(alive)]
    at_bound = int((censored.value[censored.run_id.isin(alive)] == 1).sum())
    reach = unit_metric(own, "positive")
    if at_bound:
        reach = replace(reach, low=math.nan, high=math.nan)
    values = tuple(sorted(own.value.dropna()))
    return SignalReach(rate, half_life(rate), reach, at_bound, values, format_lost(rates))


def half_life(rate: Estimate) -> Estimate:
    """Compute the half-life ln 2 / −rate with the interval of the rate; infinite where the rate is ≥ 0."""
    return Estimate(_halving(rate.mean), _halving(rate.low), _halving(rate.high), rate.n)


def _halving(rate: float) -> float:
    if math.isnan(rate):
        return math.nan
    return math.log(2) / -rate if rate < 0 else math.inf
