"""The primary metric against training time and number of parameters, with the Pareto front."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from gatescope.analysis import study, style
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.drawing import canvas, legend, panel_title, per_row
from gatescope.analysis.figures.summaries import evenly_spaced, readable_name, seed_text
from gatescope.analysis.tables import NoData
from gatescope.analysis.units import unit_metric

TITLE = "Metric against cost"
MAX_ROWS = 3
COSTS = {"seconds": "training time (s)", "parameters": "parameters"}
FRONT: Any = {"color": "#888888", "linewidth": 0.9, "linestyle": (0, (4.0, 2.0)), "zorder": 0}


def caption(comparison: Comparison) -> str:
    """Describe both costs and the Pareto front."""
    return (
        f"{readable_name(comparison.primary).capitalize()} against the duration of a run, with evaluation "
        "and instruments, and against the number of parameters, with embedding and head. Mean and 95 % t "
        f"interval over {seed_text(_values(comparison))}. Dashed: Pareto front of the means; no variant is "
        "both cheaper and better than a variant on it."
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
        grid = list(figure.subplots(len(shown) // columns, columns, sharey=True, squeeze=False).flat)
        for axes, (condition, cost) in zip(grid, shown, strict=True):
            part = rows[rows.condition == condition]
            _panel(axes, part, cost, _front(part, cost, comparison.higher_is_better))
            panel_title(axes, condition)
            axes.set_xlabel(COSTS[cost])
            axes.set_ylabel(readable_name(comparison.primary))
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        for position, axes in enumerate(grid):
            if position % columns:
                axes.set_ylabel("")
        legend(figure, rows.variant, lines=False, extra=[Line2D([], [], **FRONT, label="Pareto front")])
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, cost: str, front: pd.DataFrame) -> None:
    styles = style.styles_of(rows.variant)
    axes.plot(front[cost], front["mean"], **FRONT, drawstyle="steps-post")
    for row in rows.to_dict("records"):
        variant_style = styles[row["variant"]]
        axes.vlines(row[cost], row["low"], row["high"], color=variant_style.color, linewidth=0.9)
        if cost == "seconds":
            axes.hlines(
                row["mean"], row["seconds_low"], row["seconds_high"], color=variant_style.color, linewidth=0.9
            )
        axes.plot([row[cost]], [row["mean"]], **variant_style.points | {"markersize": 5})
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, 0.0), high)


def _front(rows: pd.DataFrame, cost: str, higher_is_better: bool) -> pd.DataFrame:
    """Return the rows that are better than every cheaper one, cheapest first."""
    gain = rows["mean"] if higher_is_better else -rows["mean"]
    ordered = rows.assign(gain=gain).sort_values([cost, "gain"], ascending=[True, False], kind="stable")
    before = ordered.gain.cummax().shift(fill_value=float("-inf"))
    return ordered[ordered.gain > before].drop(columns="gain")


def _estimates(comparison: Comparison) -> pd.DataFrame:
    """Return mean and interval of the metric, and both costs, by condition and variant."""
    table = _values(comparison)
    rows = []
    for condition in study.conditions(table):
        for variant in style.order(table.variant):
            own = table[(table.variant == variant) & (table.condition == condition)]
            if own.empty:
                continue
            metric = comparison.summary(variant, condition).metrics[comparison.primary]
            time = unit_metric(own.assign(value=own.seconds), "positive")
            rows.append(
                {"condition": condition, "variant": variant, **vars(metric)}
                | {"seconds": time.mean, "seconds_low": time.low, "seconds_high": time.high}
                | {"parameters": own.parameters.mean()}
            )
    return pd.DataFrame(rows)


def _values(comparison: Comparison) -> pd.DataFrame:
    """Return the metric and both costs of each run."""
    name, contenders = comparison.primary, comparison.contenders
    costs = {cost: pd.to_numeric(contenders.runs[cost], errors="coerce") for cost in COSTS}
    table = contenders.final(name).assign(**costs).dropna(subset=["value", *COSTS])
    if table.empty:
        raise NoData(f"no finished run has a finite {name} with its seconds and parameters")
    return table
