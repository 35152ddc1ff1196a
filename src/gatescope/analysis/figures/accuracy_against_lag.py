"""How many seeds solve the task, or the metric, against its lag, and beside it the reach of the gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, ScalarFormatter

from gatescope.analysis import style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.base import Curves
from gatescope.analysis.figures.drawing import canvas, format_log_axis, frame, legend, per_row
from gatescope.analysis.figures.summaries import readable_name, seed_text
from gatescope.analysis.gradient_flow import (
    ALIVE,
    END,
    EXPLODED,
    ends,
    lost_by_variant,
    measurements,
)
from gatescope.analysis.intervals import scale_of
from gatescope.analysis.outcomes import solved_share
from gatescope.analysis.tables import NoData
from gatescope.analysis.units import unit_metric

TITLE = "Metric and reach against lag"
CURVES = Curves("lag", "lag of the task (steps)", "", ("quantity",), log_x=True)
REACH = "reach of the gradient (steps)"
SOLVED = "seeds that solve the task"
DODGE = 1.03
"""Factor between the places of two variants at the same lag."""


def caption(comparison: Comparison) -> str:
    """Describe both panels and the reach."""
    metric, _ = _metric_and_reach(comparison)
    if found := comparison.outcomes:
        first = (
            f"First panel: number of seeds whose {words.metric(found.metric)} reaches {found.at:g}; bars: "
            f"95 % interval of that share (Clopper–Pearson) among {seed_text(metric)}. "
        )
    else:
        first = (
            f"First panel: {words.metric(comparison.primary)}; small points: runs; lines and bars: mean and "
            f"95 % interval over {seed_text(metric)}. "
        )
    return (
        f"{first}Second panel: reach at the tested weights, the largest lag at which the norm of the "
        "gradient is more than 1 % of its norm at lag 0 (loss-free, top layer), at most the length of the "
        "sequences; lines and bars: median, least and largest value of the seeds; dashed: reach = lag. "
        f"Variants are drawn side by side.{_exploded_seeds(comparison)}"
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return the quantity of the first panel and the reach by variant and lag."""
    points = [(quantity, point) for quantity, part in _panels(comparison).items() for point in part]
    rows = [
        {"quantity": quantity, "variant": one.variant, "lag": one.lag}
        | {"mean": one.middle, "low": one.low, "high": one.high, "n": len(one.values)}
        for quantity, one in points
    ]
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Point:
    """A quantity of one variant at one lag.

    Attributes:
        variant: the variant.
        lag: the lag.
        middle: what the line goes through.
        low: lower end of the bar.
        high: upper end of the bar.
        values: the values of the runs.
    """

    variant: str
    lag: float
    middle: float
    low: float
    high: float
    values: tuple[float, ...]


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw the seeds that solve the task, or the metric, against lag, and beside it the reach against lag."""
    metric, _ = _metric_and_reach(comparison)
    width = width or style.TWO_COLUMNS
    columns = min(2, per_row(width, 2.0))
    lags = sorted(metric.lag.unique())
    with canvas(width, 2.9 if columns > 1 else 4.8) as figure:
        grid = list(figure.subplots(3 - columns, columns).flat)
        for axes, (quantity, points) in zip(grid, _panels(comparison).items(), strict=True):
            axes.set_xscale("log")
            _panel(axes, points, runs=quantity not in (SOLVED, REACH))
            axes.set_xticks(lags)
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel("lag of the task (steps)")
            axes.set_ylabel(quantity if quantity in (SOLVED, REACH) else readable_name(quantity))
        left, right = grid
        if comparison.outcomes:
            most = max(share.seeds for share in comparison.outcomes.shares.values())
            left.set_ylim(-0.15, most + 0.15)
            left.yaxis.set_major_locator(FixedLocator(list(range(most + 1))))
            left.yaxis.set_major_formatter(FuncFormatter(lambda k, _: f"{k:.0f} of {most}"))
        else:
            frame([left], scale_of(comparison.primary))
        if min(point.low for point in _panels(comparison)[REACH]) > 0:
            right.set_yscale("log")
            frame([right], "positive")
            format_log_axis(right.yaxis)
        else:  # the gradient of a dead seed reaches no step
            right.set_yscale("symlog", linthresh=1)
            right.set_ylim(bottom=0)
            right.yaxis.set_major_formatter(ScalarFormatter())
        along = np.geomspace(lags[0], lags[-1], 100)
        right.plot(along, along, color="#888888", linewidth=0.8, linestyle=(0, (4.0, 2.0)), zorder=4)
        legend(figure, metric.variant)
    return figure


def _panels(comparison: Comparison) -> dict[str, list[Point]]:
    """Return the points of both panels by their quantity."""
    metric, reach = _metric_and_reach(comparison)
    by = ["variant", "lag"]
    variants = {name: place for place, name in enumerate(style.order(metric.variant))}

    def groups(table: pd.DataFrame) -> list[tuple[tuple[str, float], pd.DataFrame]]:
        parts = {(str(variant), float(str(lag))): own for (variant, lag), own in table.groupby(by)}
        return sorted(parts.items(), key=lambda part: (variants.get(part[0][0], 0), part[0][1]))

    first = []
    for (variant, lag), own in groups(metric):
        values = tuple(own.value)
        if found := comparison.outcomes:
            share = solved_share(values, found.at, comparison.higher_is_better)
            bounds = (share.low * share.seeds, share.high * share.seeds)
            first.append(Point(variant, lag, share.solved, *bounds, values))
        else:
            mean = unit_metric(own, scale_of(comparison.primary))
            first.append(Point(variant, lag, mean.mean, mean.low, mean.high, values))
    second = [
        Point(variant, lag, float(own.value.median()), own.value.min(), own.value.max(), tuple(own.value))
        for (variant, lag), own in groups(reach)
    ]
    return {SOLVED if comparison.outcomes else comparison.primary: first, REACH: second}


def _panel(axes: Axes, points: list[Point], runs: bool) -> None:
    styles = style.styles_of(one.variant for one in points)
    for position, (variant, own) in enumerate(styles.items()):
        mine = [one for one in points if one.variant == variant]
        # Points of the same lag are drawn side by side, so that their bars can be distinguished.
        at = [one.lag * DODGE ** (position - (len(styles) - 1) / 2) for one in mine]
        axes.plot(at, [one.middle for one in mine], **(own.points | own.line), clip_on=False)
        for place, one in zip(at, mine, strict=True):
            axes.plot([place, place], [one.low, one.high], color=own.color, linewidth=0.9)
            if runs:
                small = own.points | {"markersize": 2, "alpha": 0.5}
                axes.plot([place] * len(one.values), one.values, **small, clip_on=False)


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
