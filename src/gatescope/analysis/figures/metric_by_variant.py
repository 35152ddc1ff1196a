"""The metric by variant: one point per seed, mean and interval, the baseline and published values."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gatescope.analysis import study, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.drawing import canvas, panels, per_row
from gatescope.analysis.figures.summaries import (
    MAX_CONDITIONS,
    evenly_spaced,
    omitted_conditions,
    one_scale,
    readable_name,
    seed_text,
)
from gatescope.analysis.intervals import BOUNDS, scale_of
from gatescope.analysis.report.numbers import number
from gatescope.analysis.statistics import LEVEL_TEXT, Estimate
from gatescope.analysis.tables import NoData

TITLE = "Metric by variant"
PANELS_PER_ROW = 3
BASELINE: Any = {"color": "#555555", "linewidth": 0.9, "linestyle": (0, (4.0, 2.0))}
PUBLISHED: Any = {"color": "#7a4a00", "linewidth": 0.9, "linestyle": (0, (1.0, 1.5))}


def caption(comparison: Comparison) -> str:
    """Describe points, bars and lines."""
    table = _values(comparison)
    conditions = study.conditions(table)
    lines = {BASELINE["color"]: "Dashed: a model without recurrence", PUBLISHED["color"]: "Dotted: published"}
    shown = {own["color"] for c in conditions for _, _, own in _bars(comparison, c)}
    line = "".join(f" {text}." for color, text in lines.items() if color in shown)
    metrics = {study.own_metric(comparison.tables, c)[0] for c in conditions}
    scales = "" if _has_one_scale(comparison, table) else " Each panel has its own scale."
    name = words.metric(comparison.primary) if len(metrics) == 1 else "the metric of each dataset"
    return (
        f"{words.capital(name)}. Small points: runs ({seed_text(table)} per "
        f"variant); large points and bars: mean and {LEVEL_TEXT} interval over {comparison.covers}.{line}"
        f"{scales}" + omitted_conditions(conditions)
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return mean and interval of the metric by condition and variant."""
    table = _values(comparison)
    several = table.metric.nunique() > 1
    rows = [
        {"condition": condition, "variant": variant}
        | ({"metric": study.own_metric(comparison.tables, condition)[0]} if several else {})
        | vars(_estimate(comparison, variant, condition))
        for condition in study.conditions(table)
        for variant in style.order(table.variant[table.condition == condition])
    ]
    return pd.DataFrame(rows)


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one panel per condition, with one row per variant."""
    table = _values(comparison)
    conditions = evenly_spaced(study.conditions(table), MAX_CONDITIONS)
    rows_of = _rows(table)
    width = width or style.TWO_COLUMNS
    columns = min(PANELS_PER_ROW, len(conditions), per_row(width, 2.0))
    rows = math.ceil(len(conditions) / columns)
    several = table.metric.nunique() > 1
    above = 0.17 * max(len(_bars(comparison, condition)) for condition in conditions)
    with canvas(width, 0.5 + rows * (0.4 + 0.2 * several + above + 0.26 * len(rows_of))) as figure:
        common = _has_one_scale(comparison, table)
        limits = {condition: _range(comparison, table, condition) for condition in conditions}
        whole = min(low for low, _ in limits.values()), max(high for _, high in limits.values())
        grid = panels(figure, len(conditions), columns, common_x=common)
        for axes, condition in zip(grid, conditions, strict=True):
            axes.tick_params(labelbottom=True)
            own = whole if common else limits[condition]
            _panel(axes, comparison, table[table.condition == condition], rows_of, own)
            if len(conditions) > 1:
                axes.set_title(style.escape(words.condition(condition)), loc="left", pad=3 + 72 * above)
            if several:
                axes.set_xlabel(readable_name(study.own_metric(comparison.tables, condition)[0]))
        if not several:
            figure.supxlabel(readable_name(table.metric.iloc[0]), fontsize=style.RC["axes.labelsize"])
    return figure


def _has_one_scale(comparison: Comparison, table: pd.DataFrame) -> bool:
    """Return whether all panels have the same horizontal scale."""
    drawn = evenly_spaced(study.conditions(table), MAX_CONDITIONS)
    return table.metric.nunique() == 1 and one_scale(_range(comparison, table, one) for one in drawn)


def _range(comparison: Comparison, table: pd.DataFrame, condition: str) -> tuple[float, float]:
    """Return the lowest and the highest value that the panel of a condition shows."""
    own = table[table.condition == condition]
    estimates = [_estimate(comparison, variant, condition) for variant in own.variant.unique()]
    found = [*own.value, *(value for _, value, _ in _bars(comparison, condition))]
    found += [end for one in estimates for end in (one.low, one.high)]
    known = [value for value in found if math.isfinite(value)]
    return min(known), max(known)


def _rows(table: pd.DataFrame) -> dict[str, str]:
    """Return the label of each row: variants, or cells where each condition has one variant of a cell."""
    cells = table.assign(cell=[style.split(variant)[0] for variant in table.variant])
    by_cell = cells.groupby(["condition", "cell"]).variant.nunique()
    if by_cell.max() == 1 and cells.groupby("cell").variant.nunique().max() > 1:
        return {cell: style.style_of(cell).label for cell in style.order(cells.cell)}
    return {variant: style.style_of(variant).label for variant in style.order(table.variant)}


def _panel(
    axes: Axes,
    comparison: Comparison,
    table: pd.DataFrame,
    rows: dict[str, str],
    limits: tuple[float, float],
) -> None:
    styles, condition = style.styles_of(table.variant), str(table.condition.iloc[0])
    places = list(rows)
    for variant, own in styles.items():
        height = places.index(variant if variant in rows else style.split(variant)[0])
        values, estimate = table.value[table.variant == variant], _estimate(comparison, variant, condition)
        small = own.points | {"markersize": 2.5, "alpha": 0.6}
        axes.plot(values, [height + 0.27] * len(values), **small, clip_on=False)
        axes.plot([estimate.low, estimate.high], [height, height], color=own.color, linewidth=1.2)
        axes.plot([estimate.mean], [height], **own.points | {"markersize": 5}, clip_on=False)
    axes.set_yticks(range(len(rows)), list(rows.values()))
    axes.set_ylim(len(rows) - 0.5, -0.6)
    axes.grid(axis="y", visible=False)
    axes.locator_params(axis="x", nbins=5)
    bars = _bars(comparison, condition)
    for _, value, line in bars:
        axes.axvline(value, **line, zorder=0)
    low, high = BOUNDS[scale_of(str(table.metric.iloc[0]))]
    left, right = limits
    margin = 0.07 * (right - left) or 0.05
    axes.set_xlim(max(left - margin, low), min(right + margin, high))
    _label_bars(axes, bars)


def _label_bars(axes: Axes, bars: list[tuple[str, float, Any]]) -> None:
    """Write name and value of each line above the axes, each in a row of its own."""
    left, right = axes.get_xlim()
    for place, (name, value, line) in enumerate(bars):
        share = (value - left) / (right - left)
        axes.annotate(
            f"{style.escape(name)} {number(value)}",
            (value, 1.0),
            xytext=(0, 2 + 10 * place),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            ha="left" if share < 0.3 else "right" if share > 0.7 else "center",
            va="bottom",
            fontsize=6.5,
            color=line["color"],
        )


def _bars(comparison: Comparison, condition: str) -> list[tuple[str, float, Any]]:
    """Return name, value and line of the baseline, and of the best published result."""
    metric, higher = study.own_metric(comparison.tables, condition)
    found: list[tuple[str, float, Any]] = []
    several = len(comparison.conditions) > 1  # panels are too narrow for the names of models
    if baseline := study.baseline(comparison.tables, condition, metric):
        name = "baseline" if several else words.variant(baseline.name)
        found.append((name, baseline.value, BASELINE))
    published = study.published(comparison.tables, condition)
    if published:
        best = (max if higher else min)(published, key=lambda one: float(one["value"]))
        name = "published" if several else f"published, {words.variant(str(best['model']))}"
        found.append((name, float(best["value"]), PUBLISHED))
    return found


def _estimate(comparison: Comparison, variant: str, condition: str) -> Estimate:
    metric, _ = study.own_metric(comparison.tables, condition)
    return comparison.summary(variant, condition).metrics[metric]


def _values(comparison: Comparison) -> pd.DataFrame:
    """Return the final value of each run in the metric of its condition, with the column `metric`."""
    parts = []
    for condition in comparison.conditions:
        metric, _ = study.own_metric(comparison.tables, condition)
        if metric in comparison.metrics:
            own = comparison.contenders.final(metric)
            parts.append(own[own.condition == condition].dropna(subset=["value"]).assign(metric=metric))
    table = pd.concat(parts) if parts else pd.DataFrame()
    if table.empty:
        raise NoData(f"no finished run has a finite {comparison.primary}")
    return table
