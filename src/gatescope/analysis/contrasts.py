"""The comparison every report makes: a table of variants, and each against the reference, seed by seed."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from gatescope.analysis import study, style
from gatescope.analysis.runs import Tables, summary_names
from gatescope.analysis.statistics import (
    Difference,
    Estimate,
    holm,
    mean_interval,
    paired_difference,
    verdict,
)


@dataclass(frozen=True)
class Row:
    """One variant under one condition: estimates by metric, means of its costs.

    Attributes:
        parameters: of the whole model, embedding and head included.
        between: of what lies between embedding and head; NaN in records that do not say.
    """

    variant: str
    condition: str
    metrics: dict[str, Estimate]
    parameters: float
    between: float
    seconds_per_epoch: Estimate
    n: int


@dataclass(frozen=True)
class Compared:
    """One variant against the reference under one condition."""

    condition: str
    difference: Difference
    adjusted_p: float
    verdict: str

    @property
    def holds(self) -> bool:
        """Whether the difference may be claimed."""
        return self.verdict in ("ahead", "behind")


def metric_names(tables: Tables) -> list[str]:
    """The primary metric first, then the other test metrics."""
    first = study.primary(tables)
    return [first, *(name for name in summary_names(tables) if name != first)]


def rows(tables: Tables) -> list[Row]:
    """A row a variant and condition that has a run, best known order first."""
    finals = {name: tables.final(name) for name in metric_names(tables)}
    seconds = tables.final("seconds_per_epoch")
    result = []
    for condition in study.conditions(tables.runs):
        for variant in style.order(tables.runs.variant):
            here = (tables.runs.variant == variant) & (tables.runs.condition == condition)
            if not here.any():
                continue
            metrics = {name: mean_interval(table.value[here]) for name, table in finals.items()}
            parameters, between = (
                float(pd.to_numeric(tables.runs[column][here]).mean())
                for column in ("parameters", "between_parameters")
            )
            cost = mean_interval(seconds.value[here])
            # Data of another kind than the study's own are compared on a metric of theirs.
            own = metrics[study.primary(tables)].n or max(one.n for one in metrics.values())
            result.append(Row(variant, condition, metrics, parameters, between, cost, own))
    return result


def against_reference(tables: Tables) -> list[Compared]:
    """Every other variant minus the reference, paired by seed; Holm over all of them as one family."""
    tables = study.contenders(tables)
    base = study.reference(tables)
    table = tables.final(study.primary(tables)).dropna(subset=["value"])
    found: list[tuple[str, Difference]] = []
    for condition in study.conditions(table):
        by_variant = by_seed(table[table.condition == condition])
        for variant in style.order(by_variant):
            if variant != base and base in by_variant:
                found.append((condition, paired_difference(by_variant[variant], by_variant[base])))
    return _judged(found, tables)


def leader(tables: Tables, condition: str, metric: str | None = None) -> tuple[str, list[Compared]] | None:
    """The variant with the best mean, and it against each other one, Holm-adjusted; None without values.

    Args:
        metric: default: the study's primary.
    """
    tables = study.contenders(tables)
    name = metric or study.primary(tables)
    table = tables.final(name).dropna(subset=["value"])
    by_variant = by_seed(table[table.condition == condition])
    if not by_variant:
        return None
    sign = 1 if study.higher_is_better(tables, name) else -1
    best = max(style.order(by_variant), key=lambda variant: sign * by_variant[variant].mean())
    others = [variant for variant in style.order(by_variant) if variant != best]
    found = [(condition, paired_difference(by_variant[best], by_variant[other])) for other in others]
    return best, _judged(found, tables, name)


def best(tables: Tables) -> dict[tuple[str, str], str]:
    """By metric (or "seconds_per_epoch") and condition, the variant that is ahead of every other one.

    Where the best mean is not ahead of all others, or a baseline's is better, there is none.
    """
    found = {}
    for name in [*metric_names(tables), "seconds_per_epoch"]:
        sign = 1 if study.higher_is_better(tables, name) else -1
        for condition in study.conditions(tables.runs):
            first = leader(tables, condition, name)
            if first is None or not first[1] or any(one.verdict != "ahead" for one in first[1]):
                continue
            table = tables.final(name)
            means = table[study.holding(tables, condition)].groupby("variant").value.mean() * sign
            if means.max() <= means[first[0]]:
                found[name, condition] = first[0]
    return found


def against_baseline(tables: Tables, condition: str) -> list[Compared]:
    """Each variant minus the baseline's value; empty where there is none."""
    bar, tables = study.baseline(tables, condition), study.contenders(tables)
    if bar is None:
        return []
    table = tables.final(study.primary(tables))
    by_variant = by_seed(table[table.condition == condition])
    found = [
        (condition, paired_difference(values, (values * 0 + bar.value).rename(bar.name)))
        for values in (by_variant[variant] for variant in style.order(by_variant))
    ]
    return _judged(found, tables)


def _judged(found: list[tuple[str, Difference]], tables: Tables, metric: str | None = None) -> list[Compared]:
    adjusted, higher = holm([difference.p for _, difference in found]), study.higher_is_better(tables, metric)
    return [
        Compared(condition, difference, p, verdict(difference, p, higher))
        for (condition, difference), p in zip(found, adjusted, strict=True)
    ]


def by_seed(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Values indexed by seed, by variant."""
    return {
        str(variant): part.set_index("seed").value.rename(str(variant))
        for variant, part in table.groupby("variant")
    }
