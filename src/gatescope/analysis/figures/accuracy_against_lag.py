"""The primary metric against the lag of the task, and beside it the reach of the gradient against lag."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from gatescope.analysis import style
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.base import Curves
from gatescope.analysis.figures.drawing import canvas, legend, per_row
from gatescope.analysis.figures.summaries import means, readable_name, seed_text
from gatescope.analysis.gradient_flow import (
    ALIVE,
    END,
    EXPLODED,
    ends,
    lost_by_variant,
    measurements,
)
from gatescope.analysis.intervals import Scale, metric_interval, scale_of
from gatescope.analysis.tables import NoData

TITLE = "Metric and reach against lag"
CURVES = Curves("lag", "lag of the task (steps)", "", ("quantity",), log_x=True)
REACH = "reach (steps)"


def caption(comparison: Comparison) -> str:
    """Describe both panels and the reach."""
    metric, _ = _metric_and_reach(comparison)
    return (
        f"First panel: {readable_name(comparison.primary)} against lag. Second panel: reach at the tested "
        "weights, the largest lag at which the norm of the gradient is more than 1 % of its norm at lag 0 "
        "(loss-free, top layer), bounded by the length of the sequences; dashed: reach = lag. Mean and 95 % "
        f"t interval over {seed_text(metric)}; the axes cover the values of all runs, and bars may extend "
        f"beyond them.{_exploded_seeds(comparison)}"
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return mean and interval of both quantities by variant and lag."""
    metric, reach = _metric_and_reach(comparison)
    parts = {comparison.primary: metric, REACH: reach}
    table = pd.concat([own.assign(quantity=name) for name, own in parts.items()])
    return means(table, ["quantity"], "lag", scale=_scale)[
        ["quantity", "variant", "lag", "mean", "low", "high", "n"]
    ]


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw the metric against lag, and beside it the reach against lag."""
    metric, reach = _metric_and_reach(comparison)
    width = width or style.TWO_COLUMNS
    columns = min(2, per_row(width, 2.0))
    with canvas(width, 2.75 if columns > 1 else 4.6) as figure:
        left, right = figure.subplots(3 - columns, columns, sharex=columns > 1).flat
        _panel(left, metric, scale_of(comparison.primary))
        _panel(right, reach, "positive")
        lags = sorted(metric.lag.unique())
        left.set_xscale("log")
        for axes in (left, right):
            axes.set_xticks(lags)
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel("lag of the task (steps)")
        along = np.geomspace(lags[0], lags[-1], 100)
        right.plot(along, along, color="#888888", linewidth=0.8, linestyle=(0, (4.0, 2.0)), zorder=0)
        right.set_ylim(bottom=0)
        left.set_ylabel(readable_name(comparison.primary))
        right.set_ylabel("reach (steps)")
        legend(figure, metric.variant)
    return figure


def _scale(quantity: str) -> Scale:
    return "positive" if quantity == REACH else scale_of(quantity)


def _panel(axes: Axes, table: pd.DataFrame, scale: Scale) -> None:
    styles = style.styles_of(table.variant)
    for position, (variant, variant_style) in enumerate(styles.items()):
        by_lag = table[table.variant == variant].groupby("lag").value.apply(metric_interval, scale=scale)
        # Points of the same lag are drawn side by side, so that their bars can be distinguished.
        at = by_lag.index * 1.025 ** (position - (len(styles) - 1) / 2)
        axes.plot(at, [e.mean for e in by_lag], **(variant_style.points | variant_style.line))
        axes.vlines(
            at, [e.low for e in by_lag], [e.high for e in by_lag], color=variant_style.color, linewidth=0.9
        )
    low, high = table.value.min(), table.value.max()
    margin = 0.15 * (high - low) or 0.1
    axes.set_ylim(low - margin, high + margin)


def _exploded_seeds(comparison: Comparison) -> str:
    """Return the sentence of the caption on seeds without a reach, whose gradient has exploded.

    A dead seed has a reach: the lag at which its gradient becomes 0.
    """
    try:
        rates = comparison.decay_rates
    except NoData:
        return ""
    return lost_by_variant(rates.assign(status=rates.status.where(rates.status == EXPLODED, ALIVE)))


def _metric_and_reach(comparison: Comparison) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the primary metric and the reach at the tested weights, one row per run with its lag."""
    contenders = comparison.contenders
    lag = contenders.runs.set_index("run_id").lag
    metric = contenders.final(comparison.primary).dropna(subset=["value"])
    reach = ends(measurements(comparison.tables, "loss_free_reach"))[END].dropna(subset=["value"])
    metric, reach = (
        table.assign(lag=table.run_id.map(lag)).dropna(subset=["lag"]) for table in (metric, reach)
    )
    if metric.lag.nunique() < 2:
        raise NoData("fewer than two lags have a finished run")
    return metric, reach
