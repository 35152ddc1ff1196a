"""In words: one row a dataset, what each architecture reaches beside a baseline and published numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gatescope.analysis import study, style
from gatescope.analysis.report.numbers import NOTHING, interval, listed, number
from gatescope.analysis.report.tables import markdown
from gatescope.analysis.runs import Tables
from gatescope.analysis.statistics import ENOUGH_SEEDS, LEVEL, Estimate, mean_interval

TITLE = "One row a dataset"


@dataclass(frozen=True)
class Row:
    """One dataset: estimates by cell, the baseline's value, and published numbers by model."""

    dataset: str
    metric: str
    higher: bool
    ours: dict[str, Estimate]
    baseline: study.Baseline | None
    published: list[dict[str, Any]]

    @property
    def best(self) -> str:
        """The cell with the best mean."""
        sign = 1 if self.higher else -1
        return max(self.ours, key=lambda name: sign * self.ours[name].mean)

    def reaches(self, name: str, value: float) -> bool:
        """Whether a cell's mean is as good as this value."""
        mean = self.ours[name].mean
        return mean >= value if self.higher else mean <= value


def rows(tables: Tables) -> list[Row]:
    """A row a condition in which a network has finished."""
    return [row for condition in study.conditions(tables.runs) if (row := _row(tables, condition)).ours]


def _row(tables: Tables, condition: str) -> Row:
    metric, higher = study.own_metric(tables, condition)
    networks = study.contenders(tables).runs
    here = networks[networks.condition == condition]
    values = tables.final(metric).value
    estimates = {
        name: mean_interval(values[here.index[here.cell == name]].dropna()) for name in style.order(here.cell)
    }
    nodes = [tables.configs.get(run, {}).get("study") or {} for run in here.run_id]
    published: list[dict[str, Any]] = next((node["published"] for node in nodes if node.get("published")), [])
    return Row(
        condition.removeprefix("data="),
        metric,
        higher,
        {name: estimate for name, estimate in estimates.items() if estimate.n},
        study.baseline(tables, condition, metric),
        published,
    )


def paragraphs(tables: Tables) -> list[str]:
    found = rows(tables)
    if not found:
        return ["No network has a finite result."]
    return [_table(found), _method(tables, found), *_against_baselines(found), *_against_published(found)]


def headline(tables: Tables) -> str:
    """One line, plain text: on how many datasets a network is better than its baseline."""
    judged = [row for row in rows(tables) if row.baseline]
    better = sum(row.reaches(row.best, row.baseline.value) for row in judged if row.baseline)
    return f"A recurrent network is at least as good as the baseline on {better} of {len(judged)} datasets."


def _table(found: list[Row]) -> str:
    cells = style.order({name for row in found for name in row.ours})
    head = ["dataset", "metric", *(style.style_of(name).label for name in cells), "baseline", "published"]
    lines = []
    for row in found:
        ours = [_marked(row, name) for name in cells]
        bar = f"{number(row.baseline.value)} ({row.baseline.name})" if row.baseline else NOTHING
        told = "; ".join(_told(one) for one in row.published) or NOTHING
        lines.append([row.dataset, row.metric.removeprefix("test/"), *ours, bar, told])
    return markdown(head, lines)


def _marked(row: Row, name: str) -> str:
    if name not in row.ours:
        return NOTHING
    text = interval(row.ours[name])
    return f"**{text}**" if name == row.best else text


def _told(one: dict[str, Any]) -> str:
    return f"{style.style_of(str(one['model'])).label} {number(float(one['value']))} ({one['source']})"


def _method(tables: Tables, found: list[Row]) -> str:
    seeds = min(estimate.n for row in found for estimate in row.ours.values())
    low = sorted({row.metric.removeprefix("test/") for row in found if not row.higher})
    text = (
        f"Test split; mean over seeds and {LEVEL:.0%} t interval; bold: the best mean of a row, no verdict."
    )
    if low:
        text += f" Low is good of {listed(low)}."
    if seeds < ENOUGH_SEEDS:
        text += f" With {seeds} seeds there are not enough for verdicts between architectures."
    return text


def _against_baselines(found: list[Row]) -> Iterator[str]:
    """Where a recurrent network earns its keep, and where it does not."""
    judged = [(row, row.baseline) for row in found if row.baseline]
    groups = {
        "Better than the baseline in the mean": [r for r, b in judged if r.reaches(r.best, b.value)],
        "Worse than it": [r for r, b in judged if not r.reaches(r.best, b.value)],
    }
    for phrase, group in groups.items():
        if group:
            yield f"{phrase}: {listed(f'{row.dataset} ({row.best})' for row in group)}."


def _against_published(found: list[Row]) -> Iterator[str]:
    """Each architecture that has a published number on the same data, beside it."""
    for row in found:
        same = [one for one in row.published if one["model"] in row.ours]
        told = [
            f"{one['model']} {interval(row.ours[one['model']])}, published {number(float(one['value']))}, "
            f"{'reached' if row.reaches(one['model'], float(one['value'])) else 'not reached'}"
            for one in same
        ]
        if told:
            yield f"{row.dataset}: {'; '.join(told)}."
