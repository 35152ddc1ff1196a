"""Findings with a row per dataset: the result of each architecture, a baseline's, and published ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from gatescope.analysis import study, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.datasets import AcrossDatasets, DatasetResult
from gatescope.analysis.report.findings import Findings
from gatescope.analysis.report.numbers import NOTHING, interval, join_words, number, p_value
from gatescope.analysis.report.tables import markdown
from gatescope.analysis.statistics import LEVEL_TEXT, MIN_SEEDS, NO_SPREAD, TOO_FEW_SEEDS
from gatescope.analysis.statistics.ranks import ENOUGH_DATASETS, RankComparison
from gatescope.analysis.tables import NoData

FIGURE = "metric_by_variant"
"""The figure that shows the finding."""


def findings(comparison: Comparison) -> Findings:
    """Write the findings on a study with several datasets."""
    results = comparison.datasets
    if not results:
        return Findings("No network has a finite result", "No network has a finite result.", [])
    paragraphs = [_table(results), _method(comparison), *_across(comparison), *_against_baselines(results)]
    paragraphs += _against_published(results)
    return Findings(_title(results), _headline(comparison), paragraphs, FIGURE)


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
    # Which network is judged may not depend on the results that it is judged by.
    better = sum(one.reaches(one.chosen, one.baseline.value) for one in judged if one.baseline)
    chosen = "the network that is chosen on validation is at least as good as the model without recurrence"
    return f"{best}; {chosen} on {better} of {len(judged)}"


def _headline(comparison: Comparison) -> str:
    """Return the ranks, the datasets on which the baseline is better, and those with published results."""
    results, parts = comparison.datasets, list[str]()
    if (across := _across_datasets(comparison)) is not None:
        parts.append(_ranks(across.ranks))
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


def _method(comparison: Comparison) -> str:
    results = comparison.datasets
    seeds = min(estimate.n for one in results for estimate in one.estimates.values())
    low = sorted(
        {words.metric(one.metric.removeprefix("test/")) for one in results if not one.higher_is_better}
    )
    text = (
        f"Test split; mean and {LEVEL_TEXT} interval over {comparison.unit}s, and over test items where "
        "their predictions are recorded. Bold: best mean of a row, not tested."
    )
    if low:
        text += f" Lower is better for {join_words(low)}."
    if seeds < MIN_SEEDS:
        text += f" {seeds} {comparison.unit}s are not enough for verdicts on one dataset."
    return text


def _across_datasets(comparison: Comparison) -> AcrossDatasets | None:
    try:
        return comparison.across_datasets
    except NoData:
        return None


def _across(comparison: Comparison) -> Iterator[str]:
    """Yield the ranks over datasets with their tests, and the interquartile means."""
    if (across := _across_datasets(comparison)) is None:
        return
    mean_ranks = across.ranks.ranks
    yield _ranks(across.ranks)
    rows = [
        [*map(words.variant, (a, b)), number(mean_ranks[b] - mean_ranks[a]), *map(p_value, values)]
        for a, b, *values in across.ranks.pairs.to_numpy()
    ]
    head = ["better mean rank", "other", "difference of ranks", "p (Nemenyi)", "p (Wilcoxon, Holm)"]
    yield markdown(head, rows)
    if across.interquartile:
        means = (f"{words.variant(name)} {interval(one)}" for name, one in across.interquartile.items())
        yield (
            f"Interquartile mean of the scores on {len(across.normalised)} datasets, where 0 is guessing "
            f"and 1 is perfect, with a {LEVEL_TEXT} bootstrap interval over {comparison.unit}s: "
            f"{join_words(means)}."
        )


def _ranks(ranks: RankComparison) -> str:
    means = join_words(f"{words.variant(str(name))} {rank:.2f}" for name, rank in ranks.ranks.items())
    differing = ranks.pairs[ranks.pairs.nemenyi < 1 - ranks.level]
    pairs = differing[["a", "b"]].map(words.variant).to_numpy()
    found = join_words(f"{a} ranks before {b}" for a, b in pairs)
    text = f"Mean rank over {ranks.datasets} datasets: {means} (1: always the best). "
    difference = number(ranks.critical_difference)
    text += f"{found or 'No pair of ranks differs'} (Nemenyi's test, critical difference {difference})."
    if ranks.datasets < ENOUGH_DATASETS:
        text += f" {ranks.datasets} datasets are few: only large differences would be found."
    return text


def _against_baselines(results: Sequence[DatasetResult]) -> Iterator[str]:
    """Yield the datasets by the verdict on the network that is best on validation, against the baseline."""
    judged = [(one, one.baseline) for one in results if one.baseline]
    groups = {
        "Mean at least as good as the baseline's": [r for r, b in judged if r.reaches(r.chosen, b.value)],
        "Mean worse than the baseline's": [r for r, b in judged if not r.reaches(r.chosen, b.value)],
    }
    for phrase, group in groups.items():
        if group:
            names = (f"{one.dataset} ({words.variant(one.chosen)}{_verdict(one)})" for one in group)
            yield f"{phrase}: {join_words(names)}."
    if any(one.validation for one in results):
        yield (
            "In brackets: the architecture that is best on validation. Its verdict, where there are enough "
            "seeds, is from an interval that holds for all architectures of a dataset together."
        )


def _verdict(result: DatasetResult) -> str:
    """Return ", ahead" or another verdict on the chosen architecture; "" where there are too few seeds."""
    found = result.against_baseline.get(result.chosen)
    return "" if found is None or found.verdict in (TOO_FEW_SEEDS, NO_SPREAD) else f", {found.verdict}"


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
