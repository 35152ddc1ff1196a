"""The parts of a `Comparison` that are computed for all metrics: scores, leaders and summaries."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from gatescope.analysis import contrasts, style
from gatescope.analysis import study as declared
from gatescope.analysis.contrasts import Leader, Rules, Scores, VariantSummary
from gatescope.analysis.intervals import scale_of
from gatescope.analysis.items import Items, variance_of, variance_of_difference
from gatescope.analysis.runs import Tables, summary_names
from gatescope.analysis.statistics import ItemVariance
from gatescope.analysis.units import overlap, unit_metric

SECONDS = "seconds_per_epoch"


def metric_names(tables: Tables) -> tuple[str, ...]:
    """Return the primary metric, then the other test metrics."""
    primary = declared.primary(tables)
    return (primary, *(name for name in summary_names(tables) if name != primary))


def by_condition(table: pd.DataFrame, conditions: Iterable[str]) -> dict[str, Scores]:
    """Return the scores of a table under each condition."""
    return {c: contrasts.scores_by_unit(table[table.condition == c]) for c in conditions}


def rules(tables: Tables, items: Mapping[tuple[str, str, str], Items], metric: str) -> Rules:
    """Return how contrasts of a metric are judged."""

    def items_of(condition: str, a: str, b: str) -> ItemVariance | None:
        # A baseline is named by its model.
        names = [b, *(v for v in tables.runs.variant.unique() if style.split(v)[0] == b)]
        mine, *theirs = [items.get((metric, name, condition)) for name in (a, *names)]
        other = next((one for one in theirs if one is not None), None)
        if mine is None or other is not None:
            return variance_of_difference(mine, other) if mine and other else None
        is_constant = len(names) == 1 and b not in set(tables.runs.variant)
        return variance_of(mine) if is_constant else None

    margin = tables.study.get("margin") if metric == declared.primary(tables) else None
    overlaps = {str(condition): overlap(own) for condition, own in tables.runs.groupby("condition")}
    largest = 1.0 if scale_of(metric) == "proportion" else math.inf
    return Rules(declared.higher_is_better(tables, metric), margin, items_of, overlaps, largest)


def leaders(
    tables: Tables, scores: dict[str, dict[str, Scores]], items: Mapping[tuple[str, str, str], Items]
) -> dict[tuple[str, str], Leader]:
    """Return the variant with the best mean by metric and condition."""
    return {
        (name, condition): leader
        for name, by in scores.items()
        for condition, own in by.items()
        if (leader := contrasts.leader(condition, own, rules(tables, items, name)))
    }


def ahead_of_all(
    tables: Tables, finals: dict[str, pd.DataFrame], leaders: dict[tuple[str, str], Leader]
) -> Iterable[tuple[tuple[str, str], str]]:
    """Yield metric and condition with the variant that is ahead of all others, baselines included."""
    for (name, condition), leader in leaders.items():
        if not leader.ahead_of_all:
            continue
        sign = 1 if declared.higher_is_better(tables, name) else -1
        valid = declared.valid_under(tables, condition)
        means = finals[name][valid].groupby("variant").value.mean() * sign
        if means.max() <= means[leader.variant]:
            yield (name, condition), leader.variant


def summaries(
    tables: Tables,
    finals: dict[str, pd.DataFrame],
    names: tuple[str, ...],
    items: Mapping[tuple[str, str, str], Items],
) -> Iterable[VariantSummary]:
    """Yield the results of each variant under each condition, in table order."""
    runs = tables.runs
    for condition in declared.conditions(runs):
        for variant in style.order(runs.variant[runs.condition == condition]):
            own = (runs.variant == variant) & (runs.condition == condition)
            estimates = {
                name: unit_metric(
                    final[own], scale_of(name), variance_of(items.get((name, variant, condition)))
                )
                for name, final in finals.items()
            }
            metrics = {name: estimates[name] for name in names}
            parameters, between = (
                float(pd.to_numeric(runs[column][own]).mean())
                for column in ("parameters", "between_parameters")
            )
            n = metrics[names[0]].n or max(one.n for one in metrics.values())
            yield VariantSummary(variant, condition, metrics, parameters, between, estimates[SECONDS], n)
