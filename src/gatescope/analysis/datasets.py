"""Results of a study by dataset, each on the metric of its task, and architectures compared over datasets.

An architecture is a cell, or, where a dataset has a cell with several attentions, a variant.

Scores of different metrics are put on one scale: 0 is the value of guessing, 1 the best possible value. The
value of guessing is that of the baseline `majority`, if it ran on the dataset; else 1 / classes for an
accuracy and 0 for other proportions. For other metrics it is then not known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gatescope.analysis import contrasts, study, style, words
from gatescope.analysis.contrasts import Contrast
from gatescope.analysis.intervals import scale_of
from gatescope.analysis.items import variance_of
from gatescope.analysis.statistics import Estimate, interquartile_mean
from gatescope.analysis.statistics.ranks import MIN_DATASETS, RankComparison, compare_ranks
from gatescope.analysis.tables import NoData, Tables
from gatescope.analysis.units import unit_metric, unit_values

if TYPE_CHECKING:
    from gatescope.analysis.comparison import Comparison

GUESSING = "majority"
"""The baseline that predicts the same for every example."""


@dataclass(frozen=True, eq=False)
class DatasetResult:
    """The results on one dataset.

    Attributes:
        dataset: name of the dataset.
        metric: the metric of its task.
        higher_is_better: direction of the metric.
        values: by architecture, a value per seed.
        estimates: by architecture, the mean over seeds and its interval.
        validation: by architecture, the mean of the metric on validation; empty in records without it.
        guess: the value of guessing; NaN where it is not known.
        baseline: the baseline on this dataset.
        against_baseline: by architecture, the contrast with the baseline; one family.
        published: what others report, each with model, value and source.
    """

    dataset: str
    metric: str
    higher_is_better: bool
    values: dict[str, pd.Series]
    estimates: dict[str, Estimate]
    validation: dict[str, float]
    guess: float
    baseline: study.Baseline | None
    against_baseline: dict[str, Contrast]
    published: list[dict[str, Any]]

    @property
    def best(self) -> str:
        """The architecture with the best mean."""
        return self._best({name: one.mean for name, one in self.estimates.items()})

    @property
    def chosen(self) -> str:
        """The architecture that is best on validation, so that its test value is not that of the luckiest.

        In records without values on validation it is `best`.
        """
        return self._best(self.validation) if self.validation else self.best

    def _best(self, means: dict[str, float]) -> str:
        sign = 1 if self.higher_is_better else -1
        return max(means, key=lambda name: sign * means[name])

    def reaches(self, name: str, value: float) -> bool:
        """Return whether an architecture's mean is at least as good as a value."""
        mean = self.estimates[name].mean
        return mean >= value if self.higher_is_better else mean <= value

    def normalised(self, name: str) -> pd.Series:
        """Return the scores of an architecture between guessing, 0, and the best possible value, 1."""
        best = 1.0 if self.higher_is_better else 0.0
        return (self.values[name] - self.guess) / (best - self.guess)


@dataclass(frozen=True, eq=False)
class AcrossDatasets:
    """Architectures compared over the datasets on which all of them have a result.

    Attributes:
        ranks: the architectures by mean rank; each dataset counts once, with the means over seeds.
        datasets: the compared datasets.
        left_out: the other datasets.
        interquartile: by architecture, the interquartile mean of the normalised scores.
        normalised: the datasets that it is taken over.
    """

    ranks: RankComparison
    datasets: tuple[str, ...]
    left_out: tuple[str, ...]
    interquartile: dict[str, Estimate]
    normalised: tuple[str, ...]


def dataset_results(comparison: Comparison) -> list[DatasetResult]:
    """Return a result per condition in which a network has a finite value."""
    runs = comparison.contenders.runs
    attentions = runs.groupby(["condition", "cell"]).attention.nunique()
    column = "cell" if len(attentions) and attentions.max() == 1 else "variant"
    results = (_dataset_result(comparison, condition, column) for condition in comparison.conditions)
    return [one for one in results if one.estimates]


def _dataset_result(comparison: Comparison, condition: str, column: str) -> DatasetResult:
    tables, networks = comparison.tables, comparison.contenders.runs
    metric, higher = study.own_metric(tables, condition)
    own = networks[networks.condition == condition]
    final, validation = (tables.final(name).loc[own.index] for name in (metric, _on_validation(metric)))
    finite = np.isfinite(final.value)
    names = {name: own.index[finite & (own[column] == name)] for name in style.order(own[column][finite])}
    variants = {name: str(own.variant[rows[0]]) for name, rows in names.items()}
    items = {name: comparison.items.get((metric, variants[name], condition)) for name in names}
    baseline = study.baseline(tables, condition, metric)
    values = {name: unit_values(final.loc[rows]).dropna() for name, rows in names.items()}
    means = {name: float(validation.value[rows].mean()) for name, rows in names.items()}
    found: tuple[Contrast, ...] = ()
    if baseline is not None:
        scores = {variants[name]: own_values.rename(variants[name]) for name, own_values in values.items()}
        rules = comparison.rules(metric)
        found = contrasts.contrasts_with_value(condition, scores, baseline.name, baseline.value, rules)
    against = {one.variant: one for one in found}
    return DatasetResult(
        dataset=words.condition(condition),
        metric=metric,
        higher_is_better=higher,
        values=values,
        estimates={
            name: unit_metric(final.loc[rows], scale_of(metric), variance_of(items[name]))
            for name, rows in names.items()
        },
        validation=means if all(map(math.isfinite, means.values())) else {},
        guess=_guess(tables, own, condition, metric),
        baseline=baseline,
        against_baseline={name: against[variants[name]] for name in names if variants[name] in against},
        published=study.published(tables, condition),
    )


def _on_validation(metric: str) -> str:
    return f"best/validation/{metric.removeprefix('test/')}"


def _guess(tables: Tables, own: pd.DataFrame, condition: str, metric: str) -> float:
    """Return the value of guessing; NaN where it is not known."""
    runs = tables.runs
    rows = (runs.cell == GUESSING) & (runs.condition == condition)
    majority = float(tables.final(metric).value[rows].mean())
    if math.isfinite(majority) or scale_of(metric) != "proportion":
        return majority
    if not metric.endswith("/accuracy"):
        return 0.0
    classes = [len(tables.tasks.get(run_id, {}).get("labels") or ()) for run_id in own.run_id]
    return 1 / max(classes) if max(classes) > 1 else math.nan


def across_datasets(comparison: Comparison) -> AcrossDatasets:
    """Compare architectures over datasets.

    Raises:
        NoData: a dataset stands under several conditions; fewer than two architectures, or fewer than
            `MIN_DATASETS` datasets that have all of them.
    """
    results, runs = comparison.datasets, comparison.contenders.runs
    if runs.data.nunique() < runs.condition.nunique():
        raise NoData("the conditions are not datasets: there is nothing to rank over")
    names = style.order({name for one in results for name in one.estimates})
    complete = [one for one in results if set(one.estimates) == set(names)]
    if len(names) < 2:
        raise NoData("only one architecture has results: there is nothing to rank")
    if len(complete) < MIN_DATASETS:
        raise NoData(
            f"ranks over datasets need {MIN_DATASETS} datasets with results of all architectures; "
            f"{len(complete)} {'has' if len(complete) == 1 else 'have'} them"
        )
    index = [one.dataset for one in complete]
    sign = np.array([1 if one.higher_is_better else -1 for one in complete])
    means = pd.DataFrame(
        {name: [one.estimates[name].mean for one in complete] for name in names}, index=index
    )
    normalised = pd.DataFrame(
        {name: [float(one.normalised(name).mean()) for one in complete] for name in names}, index=index
    )
    scaled = [one for one in complete if math.isfinite(one.guess)]
    return AcrossDatasets(
        ranks=compare_ranks(means.mul(sign, axis=0), normalised),
        datasets=tuple(index),
        left_out=tuple(one.dataset for one in results if one not in complete),
        interquartile={name: _interquartile(scaled, name) for name in names} if scaled else {},
        normalised=tuple(one.dataset for one in scaled),
    )


def _interquartile(results: Sequence[DatasetResult], name: str) -> Estimate:
    """Return the interquartile mean of the normalised scores over the seeds that all datasets have."""
    table = pd.concat([one.normalised(name).rename(one.dataset) for one in results], axis=1).dropna()
    if table.empty:
        return Estimate(math.nan, math.nan, math.nan, 0)
    return interquartile_mean(table.to_numpy())
