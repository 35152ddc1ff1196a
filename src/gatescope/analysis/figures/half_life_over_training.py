"""Half-life of the gradient through time over training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from gatescope.analysis import study, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.base import Curves
from gatescope.analysis.figures.drawing import (
    band,
    canvas,
    format_log_axis,
    frame,
    legend,
    panel_title,
    panels,
    per_row,
    power_text,
)
from gatescope.analysis.figures.summaries import evenly_spaced, omitted_conditions, seed_text
from gatescope.analysis.gradient_flow import (
    ALIVE,
    DEAD,
    EXPLODED,
    longest,
    lost_by_variant,
    over_seeds,
)
from gatescope.analysis.tables import NoData

TITLE = "Half-life over training"
MAX_PANELS = 6
"""Most conditions that are drawn; of more, evenly spaced ones are."""
CURVES = Curves("step", "step", "half-life (steps)", ("condition",), log_x=True, log_y=True)


def caption(comparison: Comparison) -> str:
    """Describe half-lives, bands and the marks on the edges."""
    table = _rates(comparison)
    return (
        "Number of time steps after which the norm of the backpropagated gradient has halved: ln 2 / −λ, "
        f"where λ is the mean decay rate over {seed_text(table)} (loss-free, top layer); bands: the 95 % t "
        "interval of λ, where it is below 0. A marker on the upper edge: the mean rate is 0 or more, so the "
        "gradient does not vanish. A cross on the lower edge: for some seed the gradient is exactly 0 "
        "(dead); on the upper edge: it overflows (exploded). Such seeds are excluded from the "
        f"mean.{lost_by_variant(longest(table))}" + omitted_conditions(study.conditions(table), MAX_PANELS)
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return mean and interval of the half-life by condition, variant and step."""
    table = _rates(comparison)
    parts = [
        over_seeds(own, "step").reset_index().assign(condition=condition, variant=variant)
        for condition in study.conditions(table)
        for variant in style.order(table.variant)
        if len(own := table[(table.condition == condition) & (table.variant == variant)])
    ]
    columns = ["condition", "variant", "step", "mean", "low", "high", "n", DEAD, EXPLODED]
    rates = pd.concat(parts, ignore_index=True)[columns]
    return rates.assign(**{column: _half_life(rates[column]) for column in ("mean", "low", "high")})


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one panel per condition."""
    table = _rates(comparison)
    conditions = evenly_spaced(study.conditions(table), MAX_PANELS)
    width = width or (style.COLUMN if len(conditions) == 1 else style.TWO_COLUMNS)
    columns = min(2 if len(conditions) == 4 else 3, len(conditions), per_row(width, 2.0))
    with canvas(width, 0.75 + 2.0 * math.ceil(len(conditions) / columns)) as figure:
        grid = panels(figure, len(conditions), columns)
        for position, (axes, condition) in enumerate(zip(grid, conditions, strict=True)):
            _panel(axes, table[table.condition == condition])
            panel_title(axes, words.condition(condition))
            if position >= len(conditions) - columns:
                axes.set_xlabel("step")
            if position % columns == 0:
                axes.set_ylabel("half-life (steps)")
        grid[0].set_yscale("log")
        grid[0].set_xscale("symlog", linthresh=1)
        grid[0].set_xlim(-0.2, 1.3 * table.step.max())
        frame(grid)
        for axes in grid:
            format_log_axis(axes.yaxis)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: power_text(step)))
        legend(figure, table.variant)
    return figure


def _panel(axes: Axes, table: pd.DataFrame) -> None:
    for variant, variant_style in style.styles_of(table.variant).items():
        rate = over_seeds(table[table.variant == variant], "step")
        lives = rate[["mean", "low", "high"]].apply(_half_life)
        axes.plot(lives.index, lives["mean"], **(variant_style.points | variant_style.line))
        # Where the interval of the rate contains 0, the half-life has no upper bound, and no band is drawn.
        band(axes, lives, variant_style.color)
        not_vanishing = rate.index[rate["mean"] >= 0]
        edge: Any = {"transform": axes.get_xaxis_transform(), "clip_on": False, "in_layout": False}
        axes.plot(not_vanishing, np.ones(len(not_vanishing)), **variant_style.points, **edge)
        for name, height in ((DEAD, 0.0), (EXPLODED, 1.0)):
            steps = rate.index[rate[name] > 0]
            axes.plot(
                steps, np.full(len(steps), height), "x", color=variant_style.color, markersize=5, **edge
            )


def _half_life(rate: pd.Series) -> pd.Series:
    return math.log(2) / -rate.where(rate < 0)


def _rates(comparison: Comparison) -> pd.DataFrame:
    table = comparison.decay_rates
    table = table[~table.tested]
    if not (table.status == ALIVE).any():
        raise NoData("no finished run has a decay rate that is defined")
    return table
