"""Findings with a row per dataset: the result of each architecture, a baseline's, and published ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gatescope.analysis import study, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.report.findings import Findings
from gatescope.analysis.report.numbers import NOTHING, interval, join_words, number
from gatescope.analysis.report.tables import markdown
from gatescope.analysis.statistics import LEVEL_TEXT, MIN_SEEDS, Estimate
from gatescope.analysis.units import unit_interval

FIGURE = "metric_by_variant"
"""The figure that shows the finding."""


@dataclass(frozen=True)
class DatasetResult:
    """The results on one dataset.

    Attributes:
        dataset: name of the dataset.
        metric: the metric of its task.
        higher_is_better: direction of the metric.
        estimates: by cell, the mean over seeds.
        baseline: the baseline on this dataset.
        published: what others report, each with model, value and source.
    """

    dataset: str
    metric: str
    higher_is_better: bool
    estimates: dict[str, Estimate]
    baseline: study.Baseline | None
    published: list[dict[str, Any]]

    @property
    def best(self) -> str:
        """The cell with the best mean."""
        sign = 1 if self.higher_is_better else -1
        return max(self.estimates, key=lambda name: sign * self.estimates[name].mean)

    def reaches(self, name: str, value: float) -> bool:
        """Return whether a cell's mean is at least as good as a value."""
        mean = self.estimates[name].mean
        return mean >= value if self.higher_is_better else mean <= value


def findings(comparison: Comparison) -> Findings:
    """Write the findings on a study with several datasets."""
    results = dataset_results(comparison)
    if not results:
        return Findings("No network has a finite result", "No network has a finite result.", [])
    paragraphs = [_table(results), _method(results), *_against_baselines(results)]
    paragraphs += _against_published(results)
    return Findings(_title(results), _headline(results), paragraphs, FIGURE)


def dataset_results(comparison: Comparison) -> list[DatasetResult]:
    """Return a result per condition in which a network has a finite value."""
    results = (_dataset_result(comparison, condition) for condition in comparison.conditions)
    return [one for one in results if one.estimates]


def _dataset_result(comparison: Comparison, condition: str) -> DatasetResult:
    tables, networks = comparison.tables, comparison.contenders.runs
    metric, higher = study.own_metric(tables, condition)
    own = networks[networks.condition == condition]
    values = tables.final(metric)
    estimates = {
        name: unit_interval(values.loc[own.index[own.cell == name]]) for name in style.order(own.cell)
    }
    return DatasetResult(
        words.condition(condition),
        metric,
        higher,
        {name: estimate for name, estimate in estimates.items() if estimate.n},
        study.baseline(tables, condition, metric),
        study.published(tables, condition),
    )


def _title(results: Sequence[DatasetResult]) -> str:
    judged = [one for one in results if one.baseline]
    worse = sum(not one.reaches(one.best, one.baseline.value) for one in judged if one.baseline)
    wins = Counter(one.best for one in results)
    cell, count = wins.most_common(1)[0]
    place = f"on {count} of {len(results)} datasets" if len(results) > 1 else f"on {results[0].dataset}"
    best = f"{words.variant(cell)} has the best mean of the networks {place}"
    if not judged:
        return best
    bar = f"a model without recurrence beats every network on {worse} of {len(judged)} datasets"
    if 2 * worse > len(judged):
        return f"{words.capital(bar)}; {best}"
    better = len(judged) - worse
    reached = f"a network is at least as good as the model without recurrence on {better} of {len(judged)}"
    return f"{best}; {reached}"


def _headline(results: Sequence[DatasetResult]) -> str:
    """Return the datasets on which the baseline is better, those with published results, and the seeds."""
    parts = []
    worse = [
        f"{one.dataset} ({words.variant(one.baseline.name)} {number(one.baseline.value)}, "
        f"{words.variant(one.best)} {interval(one.estimates[one.best])})"
        for one in results
        if one.baseline and not one.reaches(one.best, one.baseline.value)
    ]
    parts.append(f"The model without recurrence is better on {join_words(worse)}." if worse else "")
    published = [
        (f"{one.dataset} ({words.variant(name)})", one.reaches(name, float(entry["value"])))
        for one in results
        for entry in one.published
        if (name := str(entry["model"])) in one.estimates
    ]
    if published:
        reached = [text for text, good in published if good]
        parts.append(
            f"Of {len(published)} published results of these networks, {len(reached)} "
            f"{'is' if len(reached) == 1 else 'are'} reached"
            + (f": {join_words(reached)}." if reached else ".")
        )
    seeds = min(estimate.n for one in results for estimate in one.estimates.values())
    if seeds < MIN_SEEDS:
        parts.append(f"Means are over {seeds} seeds, too few for a verdict between networks.")
    return " ".join(filter(None, parts))


def _table(results: Sequence[DatasetResult]) -> str:
    cells = style.order({name for one in results for name in one.estimates})
    head = ["dataset", "metric", *(style.style_of(name).label for name in cells), "baseline", "published"]
    lines = []
    for one in results:
        estimates = [_estimate(one, name) for name in cells]
        baseline = _bar(one.baseline) if one.baseline else NOTHING
        published = "; ".join(_published(entry) for entry in one.published) or NOTHING
        lines.append(
            [one.dataset, words.metric(one.metric.removeprefix("test/")), *estimates, baseline, published]
        )
    return markdown(head, lines)


def _bar(baseline: study.Baseline) -> str:
    return f"{number(baseline.value)} ({words.variant(baseline.name)})"


def _estimate(result: DatasetResult, name: str) -> str:
    if name not in result.estimates:
        return NOTHING
    text = interval(result.estimates[name])
    return f"**{text}**" if name == result.best else text


def _published(entry: dict[str, Any]) -> str:
    return f"{style.style_of(str(entry['model'])).label} {number(float(entry['value']))} ({entry['source']})"


def _method(results: Sequence[DatasetResult]) -> str:
    seeds = min(estimate.n for one in results for estimate in one.estimates.values())
    low = sorted(
        {words.metric(one.metric.removeprefix("test/")) for one in results if not one.higher_is_better}
    )
    text = f"Test split; mean over seeds and {LEVEL_TEXT} t interval. Bold: best mean of a row, not tested."
    if low:
        text += f" Lower is better for {join_words(low)}."
    if seeds < MIN_SEEDS:
        text += f" {seeds} seeds are not enough seeds for verdicts between architectures."
    return text


def _against_baselines(results: Sequence[DatasetResult]) -> Iterator[str]:
    """Yield the datasets on which a network is at least as good as the baseline, and the others."""
    judged = [(one, one.baseline) for one in results if one.baseline]
    groups = {
        "Mean at least as good as the baseline's": [r for r, b in judged if r.reaches(r.best, b.value)],
        "Mean worse than the baseline's": [r for r, b in judged if not r.reaches(r.best, b.value)],
    }
    for phrase, group in groups.items():
        if group:
            yield f"{phrase}: {join_words(f'{one.dataset} ({words.variant(one.best)})' for one in group)}."


def _against_published(results: Sequence[DatasetResult]) -> Iterator[str]:
    """Yield for each dataset the architectures with a published result on the same data."""
    for one in results:
        parts = []
        for entry in one.published:
            name, value = entry["model"], float(entry["value"])
            if name in one.estimates:
                reached = "reached" if one.reaches(name, value) else "not reached"
                mean = f"{words.variant(name)} {interval(one.estimates[name])}"
                parts.append(f"{mean}, published {number(value)}, {reached}")
        if parts:
            yield f"{one.dataset}: {'; '.join(parts)}."
