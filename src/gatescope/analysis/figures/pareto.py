"""The metric against training time and number of parameters, with the Pareto front and the baseline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter
from scipy.optimize import isotonic_regression

from gatescope.analysis import study, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.drawing import canvas, frame, legend, panel_title, per_row
from gatescope.analysis.figures.summaries import evenly_spaced, readable_name, seed_text
from gatescope.analysis.intervals import scale_of
from gatescope.analysis.tables import NoData
from gatescope.analysis.units import unit_metric

TITLE = "Metric against cost"
MAX_ROWS = 3
COSTS = {"seconds": "training time (s)", "parameters": "parameters"}
FRONT: Any = {"color": "#4a4a4a", "linewidth": 1.4, "linestyle": (0, (4.0, 2.0)), "zorder": 1.5}
CLOSE = 0.04
"""Costs that differ by less than this share of the axis are drawn side by side, that far from each other."""
WIDE = 5.0
"""Factor between the largest and the smallest cost from which the axis is logarithmic."""


def caption(comparison: Comparison) -> str:
    """Describe both costs and the Pareto front."""
    table = _values(comparison)
    networks = table[~table.variant.isin(study.baseline_variants(comparison.tables))]
    return (
        f"{words.capital(words.metric(comparison.primary))} against the duration of a run, with evaluation "
        "and instruments, and against the number of parameters, with embedding and head. Mean and 95 % "
        f"interval over {seed_text(networks)}. Dashed: Pareto front of the means; no variant is "
        "both cheaper and better than a variant on it. Variants of almost equal cost are drawn side by side."
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return metric, costs and membership in the front by condition and variant."""
    rows = _estimates(comparison)
    for cost in COSTS:
        fronts = [
            _front(part, cost, comparison.higher_is_better)
            for _, part in rows.groupby("condition", sort=False)
        ]
        rows[f"front_{cost}"] = rows.index.isin([index for front in fronts for index in front.index])
    return rows


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw the metric against each cost, one row per condition."""
    rows = _estimates(comparison)
    width = width or style.TWO_COLUMNS
    columns = min(2, per_row(width, 2.0))
    conditions = evenly_spaced(list(dict.fromkeys(rows.condition)), MAX_ROWS if columns > 1 else 1)
    shown = [(condition, cost) for condition in conditions for cost in COSTS]
    with canvas(width, 0.75 + 1.9 * len(shown) / columns) as figure:
        grid = list(figure.subplots(len(shown) // columns, columns, squeeze=False).flat)
        for axes, (condition, cost) in zip(grid, shown, strict=True):
            part = rows[rows.condition == condition]
            is_wide = rows[cost].min() > 0 and rows[cost].max() > WIDE * rows[cost].min()
            _panel(axes, part, cost, comparison.higher_is_better, is_wide)
            panel_title(axes, words.condition(condition))
            axes.set_xlabel(COSTS[cost])
            axes.set_ylabel(readable_name(comparison.primary))
        for position, axes in enumerate(grid):
            if position % columns:
                axes.set_ylabel("")
        for condition in conditions:
            own = [axes for axes, (c, _) in zip(grid, shown, strict=True) if c == condition]
            frame(own, scale_of(comparison.primary))
        legend(figure, rows.variant, lines=False, extra=[Line2D([], [], **FRONT, label="Pareto front")])
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, cost: str, higher_is_better: bool, is_wide: bool) -> None:
    styles = style.styles_of(rows.variant)
    axes.set_xscale("log" if is_wide else "linear")
    places = np.exp(_side_by_side(np.log(rows[cost]))) if is_wide else _side_by_side(rows[cost])
    for place, row in zip(places, rows.to_dict("records"), strict=True):
        own = styles[row["variant"]]
        if np.isfinite([row["low"], row["high"]]).all():
            axes.plot([place, place], [row["low"], row["high"]], color=own.color, linewidth=0.9)
        if cost == "seconds" and np.isfinite([row["seconds_low"], row["seconds_high"]]).all():
            bounds = [row["seconds_low"], row["seconds_high"]]
            axes.plot(bounds, [row["mean"]] * 2, color=own.color, linewidth=0.9)
        axes.plot([place], [row["mean"]], **own.points | {"markersize": 5}, clip_on=False)
    low, high = axes.get_xlim()
    axes.set_xlim(low if is_wide else max(low, 0.0), high)
    front = _front(rows, cost, higher_is_better)
    at = list(pd.Series(places, rows.index)[front.index])
    # The front goes on to the right: what is dearer than its last variant is no better.
    axes.plot(
        [*at, axes.get_xlim()[1]], [*front["mean"], front["mean"].iloc[-1]], **FRONT, drawstyle="steps-post"
    )
    if is_wide:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high < 100 * low else (1.0,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(EngFormatter(sep="", places=None))


def _side_by_side(costs: pd.Series) -> np.ndarray:
    """Return where each cost is drawn: at least `CLOSE` of their range apart, in order, and moved little."""
    values = costs.to_numpy(dtype=float)
    order = np.argsort(values, kind="stable")
    step = CLOSE * (np.ptp(values) or 0.1 * abs(values[0]) or 1.0) * np.arange(len(values))
    places = np.empty_like(values)
    places[order] = isotonic_regression(values[order] - step).x + step
    return places


def _front(rows: pd.DataFrame, cost: str, higher_is_better: bool) -> pd.DataFrame:
    """Return the rows that are better than every cheaper one, cheapest first."""
    gain = rows["mean"] if higher_is_better else -rows["mean"]
    ordered = rows.assign(gain=gain).sort_values([cost, "gain"], ascending=[True, False], kind="stable")
    before = ordered.gain.cummax().shift(fill_value=float("-inf"))
    return ordered[ordered.gain > before].drop(columns="gain")


def _estimates(comparison: Comparison) -> pd.DataFrame:
    """Return metric and costs with their intervals by condition and variant, baselines included."""
    table = _values(comparison)
    rows = []
    for condition in comparison.conditions:
        valid = study.valid_under(comparison.tables, condition)
        part = table[table.run_id.isin(comparison.tables.runs.run_id[valid])]
        for variant in style.order(part.variant):
            own = part[part.variant == variant]
            summary = comparison.summary(variant, str(own.condition.iloc[0]))
            time = unit_metric(own.assign(value=own.seconds), "positive")
            rows.append(
                {"condition": condition, "variant": variant, **vars(summary.metrics[comparison.primary])}
                | {"seconds": time.mean, "seconds_low": time.low, "seconds_high": time.high}
                | {"parameters": own.parameters.mean()}
            )
    return pd.DataFrame(rows)


def _values(comparison: Comparison) -> pd.DataFrame:
    """Return the metric and both costs of each run."""
    name, tables = comparison.primary, comparison.tables
    costs = {cost: pd.to_numeric(tables.runs[cost], errors="coerce") for cost in COSTS}
    table = tables.final(name).assign(**costs).dropna(subset=["value", *COSTS])
    if not table.run_id.isin(comparison.contenders.runs.run_id).any():
        raise NoData(f"no finished run has a finite {name} with its seconds and parameters")
    return table
