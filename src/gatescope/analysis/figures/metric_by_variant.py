"""The primary metric by variant: one point per seed, mean and interval, and the baseline."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gatescope.analysis import study, style
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.drawing import canvas, panel_title, panels, per_row
from gatescope.analysis.figures.summaries import (
    MAX_CONDITIONS,
    evenly_spaced,
    omitted_conditions,
    readable_name,
    seed_text,
)
from gatescope.analysis.statistics import LEVEL_TEXT, Estimate
from gatescope.analysis.tables import NoData

TITLE = "Metric by variant"
PANELS_PER_ROW = 3
BASELINE_LINE: Any = {"color": "#555555", "linewidth": 0.9, "linestyle": (0, (4.0, 2.0))}


def caption(comparison: Comparison) -> str:
    """Describe points, bars and the line of the baseline."""
    table = _values(comparison)
    conditions = study.conditions(table)
    baselines = [(c, baseline) for c in conditions if (baseline := comparison.baselines.get(c))]
    values = ", ".join(f"{baseline.value:.3f}" + (f" ({c})" if c else "") for c, baseline in baselines)
    line = f" Dashed: {baselines[0][1].name}, {values}." if baselines else ""
    return (
        f"{readable_name(comparison.primary).capitalize()}. Small points: runs ({seed_text(table)} per "
        f"variant); large points and bars: mean and {LEVEL_TEXT} interval over {comparison.covers}.{line}"
        + omitted_conditions(conditions)
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return mean and interval of the metric by condition and variant."""
    table = _values(comparison)
    rows = [
        {"condition": condition, "variant": variant, **vars(_estimate(comparison, variant, condition))}
        for condition in study.conditions(table)
        for variant in style.order(table.variant[table.condition == condition])
    ]
    return pd.DataFrame(rows)


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one panel per condition, with one row per variant."""
    table = _values(comparison)
    variants, conditions = style.order(table.variant), evenly_spaced(study.conditions(table), MAX_CONDITIONS)
    width = width or (style.COLUMN if len(conditions) == 1 else style.TWO_COLUMNS)
    columns = min(PANELS_PER_ROW, len(conditions), per_row(width, 2.0))
    rows = math.ceil(len(conditions) / columns)
    with canvas(width, 0.6 + rows * (0.35 + 0.24 * len(variants))) as figure:
        grid = panels(figure, len(conditions), columns, common_x=False)
        for axes, condition in zip(grid, conditions, strict=True):
            _panel(axes, comparison, table[table.condition == condition], variants)
            panel_title(axes, condition)
        for axes in grid[max(0, len(conditions) - columns) :]:
            axes.set_xlabel(readable_name(comparison.primary))
        if baseline := comparison.baselines.get(conditions[0]):
            line = Line2D([], [], **BASELINE_LINE, label=style.style_of(baseline.name).label)
            figure.legend(handles=[line], loc="outside upper right", handlelength=2.2)
    return figure


def _panel(axes: Axes, comparison: Comparison, table: pd.DataFrame, variants: list[str]) -> None:
    styles, condition = style.styles_of(variants), str(table.condition.iloc[0])
    for height, variant in enumerate(variants):
        values = table.value[table.variant == variant]
        if values.empty:
            continue
        variant_style, estimate = styles[variant], _estimate(comparison, variant, condition)
        axes.plot(
            values, [height + 0.24] * len(values), **variant_style.points | {"markersize": 2.5, "alpha": 0.6}
        )
        axes.plot([estimate.low, estimate.high], [height, height], color=variant_style.color, linewidth=1.2)
        axes.plot([estimate.mean], [height], **variant_style.points | {"markersize": 5})
    axes.set_yticks(range(len(variants)), [styles[variant].label for variant in variants])
    axes.set_ylim(len(variants) - 0.5, -0.6)
    axes.grid(axis="y", visible=False)
    if baseline := comparison.baselines.get(condition):
        axes.axvline(baseline.value, **BASELINE_LINE, zorder=0)


def _estimate(comparison: Comparison, variant: str, condition: str) -> Estimate:
    return comparison.summary(variant, condition).metrics[comparison.primary]


def _values(comparison: Comparison) -> pd.DataFrame:
    name = comparison.primary
    table = comparison.contenders.final(name).dropna(subset=["value"])
    if table.empty:
        raise NoData(f"no finished run has a finite {name}")
    return table
