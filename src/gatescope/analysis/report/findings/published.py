"""Findings with a row per published number: met, better or not met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from gatescope.analysis import words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.report.findings import Findings
from gatescope.analysis.report.findings import comparison as variants
from gatescope.analysis.report.findings.headline import count_words
from gatescope.analysis.report.numbers import interval, number
from gatescope.analysis.report.tables import markdown
from gatescope.analysis.statistics import LEVEL_TEXT, MIN_SEEDS, Estimate

FIGURE = "metric_by_variant"
"""The figure that shows the finding."""
BETTER, MET, NOT_MET = "better", "met", "not met"


@dataclass(frozen=True)
class Row:
    """A published number beside our own.

    Attributes:
        dataset: The dataset.
        metric: The metric.
        model: The published model.
        value: The published number.
        source: Where it is published.
        own: Our mean and its interval.
        verdict: `BETTER` or `NOT_MET` where the interval lies on one side of the number, else `MET`. A single
            seed has no interval; its value decides.
        note: How the published model differs from ours; "" if nothing is said.
    """

    dataset: str
    metric: str
    model: str
    value: float
    source: str
    own: Estimate
    verdict: str
    note: str


def findings(comparison: Comparison) -> Findings:
    """Write the findings on a study that repeats published results."""
    rows = list(_rows(comparison))
    general = variants.paragraphs(comparison)
    if not rows:
        text = "No run of this study has a published result beside it (study.published)"
        return Findings(text, f"{text}.", general)
    counts = Counter(one.verdict for one in rows)
    reached = counts[BETTER] + counts[MET]
    title = f"{count_words(reached)} of {count_words(len(rows))} published results are met"
    few = min(one.own.n for one in rows) < MIN_SEEDS
    headline = f"Met: {counts[MET]}; better: {counts[BETTER]}; not met: {counts[NOT_MET]}." + (
        f" Some means are over fewer than {MIN_SEEDS} seeds." if few else ""
    )
    return Findings(words.capital(title), headline, [_method(comparison), _table(rows), *general], FIGURE)


def _rows(comparison: Comparison) -> Iterator[Row]:
    for result in comparison.datasets:
        for entry in result.published:
            if (own := result.estimates.get(str(entry["model"]))) is None:
                continue
            value = float(entry["value"])
            yield Row(
                dataset=result.dataset,
                metric=words.metric(result.metric.removeprefix("test/")),
                model=str(entry["model"]),
                value=value,
                source=str(entry["source"]),
                own=own,
                verdict=verdict(own, value, result.higher_is_better),
                note=str(entry.get("note") or ""),
            )


def verdict(own: Estimate, value: float, higher_is_better: bool) -> str:
    """Return whether a published value is met, passed or not met.

    Args:
        own: Our mean and its interval; NaN for the bounds of a single seed.
        value: The published value, which is taken as exact.
        higher_is_better: Direction of the metric.
    """
    low, high = (own.mean if bound != bound else bound for bound in (own.low, own.high))
    if low > value or high < value:
        return BETTER if (low > value) == higher_is_better else NOT_MET
    return MET


def _method(comparison: Comparison) -> str:
    return (
        f"Our results: test split, mean and {LEVEL_TEXT} interval over {comparison.unit}s, and over test "
        "items where their predictions are recorded. A published number has no interval: it is taken as "
        "exact. “Met”: it lies within our interval. The data, the numbers of parameters and the cells are "
        "the published ones; training is ours."
    )


def _table(rows: list[Row]) -> str:
    lines = [
        [
            one.dataset,
            one.metric,
            words.variant(one.model),
            f"{number(one.value)} ({one.source})",
            f"{interval(one.own)}, n = {one.own.n}",
            one.verdict + (f": {one.note}" if one.note else ""),
        ]
        for one in rows
    ]
    return markdown(["dataset", "metric", "model", "published", "here", "verdict"], lines)
