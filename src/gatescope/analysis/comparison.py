"""The comparison of a study's variants, computed once and passed to every part of a report.

    comparison = compare(RecordSource("runs", "first_light").tables())
    comparison.leaders[""].variant                         # the variant with the best mean
    [one.verdict for one in comparison.contrasts]          # against the reference
    comparison.gradient_flow.reach["lag=100"]["gru-none"]  # before and after training

docs/statistics.md defines the estimates, the tests and the verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from gatescope.analysis import comparison_parts as parts
from gatescope.analysis import (
    contrasts,
    data_variance,
    faithfulness,
    gradient_flow,
    horizon,
    signal_reach,
    style,
)
from gatescope.analysis import study as declared
from gatescope.analysis.attention_tests import AttentionTest, attention_tests
from gatescope.analysis.contrasts import Contrast, Leader, Rules, Scores, VariantSummary
from gatescope.analysis.data_variance import baseline_values
from gatescope.analysis.datasets import AcrossDatasets, DatasetResult, across_datasets, dataset_results
from gatescope.analysis.items import Items, item_contributions
from gatescope.analysis.outcomes import Outcomes, study_outcomes
from gatescope.analysis.runs import NoRuns, Tables
from gatescope.analysis.selection import Selection, select
from gatescope.analysis.units import unit_name


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything that a report states about a study.

    Attributes:
        study: the `study` node of the runs' config.
        recorded: all runs of the study, unfinished ones included.
        tables: the runs that are compared: all finished ones, or the selected ones.
        contenders: `tables` without the runs of baselines.
        selection: the values chosen on validation; None where the study selects nothing.
        primary: the metric that variants are compared on.
        higher_is_better: direction of the primary metric.
        metrics: all test metrics, the primary one first.
        variants: the variants that are compared, in table order.
        conditions: the conditions of `contenders`, in order.
        reference: the variant that the others are compared with.
        scores: by metric and condition, the scores of `contenders`. Missing values are NaN.
        summaries: the results of each variant under each condition, baselines included, in table order.
        items: by metric, variant and condition, the contributions of the items of the test set.
        contrasts: each variant against the reference on the primary metric; one family.
        asked_contrasts: the pairs of variants of `study.contrasts`, likewise; a family of their own.
        leaders: by condition, the best variant on the primary metric; without conditions that lack values.
        ahead_of_all: by metric (or "seconds_per_epoch") and condition, the variant that is ahead of every
            other one. It has no entry where the best mean is not ahead of all others, or where a baseline's
            mean is better.
        baselines: by condition, the baseline.
        baseline_contrasts: by condition, each variant against the baseline; one family each.
        outcomes: how many seeds solve the task; None where the study does not declare `study.solved`.
    """

    study: dict[str, Any]
    recorded: Tables
    tables: Tables
    contenders: Tables
    selection: Selection | None
    primary: str
    higher_is_better: bool
    metrics: tuple[str, ...]
    variants: tuple[str, ...]
    conditions: tuple[str, ...]
    reference: str
    scores: dict[tuple[str, str], Scores]
    items: dict[tuple[str, str, str], Items]
    summaries: tuple[VariantSummary, ...]
    contrasts: tuple[Contrast, ...]
    asked_contrasts: tuple[Contrast, ...]
    leaders: dict[str, Leader]
    ahead_of_all: dict[tuple[str, str], str]
    baselines: dict[str, declared.Baseline]
    baseline_contrasts: dict[str, tuple[Contrast, ...]]
    outcomes: Outcomes | None

    @cached_property
    def gradient_flow(self) -> signal_reach.GradientFlow:
        """The reach of gradients before and after training.

        Raises:
            NoData: no compared run has measurements of gradient flow.
        """
        return signal_reach.summarize(self.tables, self.contenders, self.decay_rates)

    @cached_property
    def decay_rates(self) -> pd.DataFrame:
        """The decay rates of the gradient; see `gradient_flow.decay_rates`.

        Raises:
            NoData: no compared run has one.
        """
        return gradient_flow.decay_rates(self.tables)

    @cached_property
    def horizon(self) -> horizon.Horizon:
        """Whether the reach of the gradient before training predicts what is learnt.

        Raises:
            NoData: the study has no such runs.
        """
        return horizon.horizon(self.contenders)

    @cached_property
    def attention(self) -> tuple[faithfulness.AttentionEvaluation, ...]:
        """The evaluations of attention as an explanation.

        Raises:
            NoData: no compared run has such measurements.
        """
        return tuple(faithfulness.evaluations(self.tables))

    @cached_property
    def attention_tests(self) -> tuple[AttentionTest, ...]:
        """The tests of attention as an explanation; empty without measurements."""
        return tuple(attention_tests(self.tables))

    @cached_property
    def datasets(self) -> tuple[DatasetResult, ...]:
        """The results by dataset, each on the metric of its task."""
        return tuple(dataset_results(self))

    @cached_property
    def across_datasets(self) -> AcrossDatasets:
        """The architectures compared over datasets.

        Raises:
            NoData: there are too few datasets, or the study compares other conditions.
        """
        return across_datasets(self)

    @property
    def unit(self) -> str:
        """What runs are paired by: "seed", or "fold" in a cross-validation."""
        return unit_name(self.contenders.runs)

    @property
    def has_conditions(self) -> bool:
        """Whether the compared runs stand under more than one condition."""
        return bool(self.tables.runs.condition.nunique() > 1)

    @property
    def chosen(self) -> dict[tuple[str, str], str]:
        """By variant and condition, the value that was selected; empty without a selection."""
        return {} if self.selection is None else self.selection.chosen

    def summary(self, variant: str, condition: str) -> VariantSummary:
        """Return the results of one variant under one condition."""
        return next(one for one in self.summaries if (one.variant, one.condition) == (variant, condition))

    @property
    def covers(self) -> str:
        """What the intervals of the primary metric are about: seeds, also test items, or folds."""
        if self.unit == "fold":
            return "folds"
        known = {(variant, condition) for metric, variant, condition in self.items if metric == self.primary}
        groups = set(zip(self.contenders.runs.variant, self.contenders.runs.condition, strict=True))
        return data_variance.covers(self.contenders, has_items=bool(groups) and groups <= known)

    def rules(self, metric: str | None = None) -> Rules:
        """Return how contrasts of a metric are judged.

        Args:
            metric: default: the primary metric, for which the study may declare a margin.
        """
        return parts.rules(self.tables, self.items, metric or self.primary)


def compare(tables: Tables) -> Comparison:
    """Compare the variants of a study.

    Args:
        tables: all runs of the study. Finished runs are compared, or those among them that `study.select`
            selects.

    Raises:
        NoRuns: no run has finished, or none can be selected.
    """
    if not (tables.runs.status == "finished").any():
        raise NoRuns(_nothing_finished(tables))
    selection = select(tables)
    compared = tables.finished() if selection is None else selection.tables
    if selection is not None and compared.runs.empty:
        raise NoRuns(f"no run of {tables.study['name']} can be selected: {'; '.join(selection.notes)}")
    return _compare(tables, compared, selection)


def _nothing_finished(tables: Tables) -> str:
    counts = ", ".join(f"{n} {status}" for status, n in tables.runs.status.value_counts().items())
    reasons = [reason for reason in tables.runs.reason if isinstance(reason, str)]
    first = f"; the first reason: {reasons[0]}" if reasons else ""
    return f"no run of {tables.study['name']} has finished ({counts}){first}"


def _compare(recorded: Tables, tables: Tables, selection: Selection | None) -> Comparison:
    primary, higher = declared.primary(tables), declared.higher_is_better(tables)
    metrics = parts.metric_names(tables)
    finals = {name: tables.final(name) for name in [*metrics, parts.SECONDS]}
    contenders = declared.contenders(tables)
    reference = declared.reference(contenders)
    conditions = tuple(declared.conditions(contenders.runs))
    is_contender = tables.runs.index.isin(contenders.runs.index)
    scores = {name: parts.by_condition(final[is_contender], conditions) for name, final in finals.items()}
    items = item_contributions(tables, metrics)
    rules = parts.rules(tables, items, primary)
    leaders = parts.leaders(tables, scores, items)
    baselines = {c: own for c in conditions if (own := declared.baseline(tables, c)) is not None}
    bars: dict[str, float | pd.Series] = {c: own.value for c, own in baselines.items()}
    for condition, own in baselines.items():
        if (by_seed := baseline_values(tables, condition, own.name, primary)) is not None:
            bars[condition] = by_seed
    return Comparison(
        study=tables.study,
        recorded=recorded,
        tables=tables,
        contenders=contenders,
        selection=selection,
        primary=primary,
        higher_is_better=higher,
        metrics=metrics,
        variants=tuple(style.order(contenders.runs.variant)),
        conditions=conditions,
        reference=reference,
        scores={(name, c): own for name, part in scores.items() for c, own in part.items()},
        items=items,
        summaries=tuple(parts.summaries(tables, finals, metrics, items)),
        contrasts=contrasts.contrasts_with(scores[primary], reference, rules),
        asked_contrasts=contrasts.paired_contrasts(
            scores[primary], tables.study.get("contrasts") or [], rules
        ),
        leaders={c: own for (name, c), own in leaders.items() if name == primary},
        ahead_of_all=dict(parts.ahead_of_all(tables, finals, leaders)),
        baselines=baselines,
        baseline_contrasts={
            c: contrasts.contrasts_with_value(c, scores[primary][c], own.name, bars[c], rules)
            for c, own in baselines.items()
        },
        outcomes=study_outcomes(contenders),
    )
