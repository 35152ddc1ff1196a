"""How soon an attractor appears in training."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from gatescope.analysis import dynamics, style
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.base import Curves
from gatescope.analysis.figures.drawing import (
    band,
    canvas,
    legend,
    panel_title,
    panels,
    per_row,
    power_text,
)
from gatescope.analysis.figures.summaries import condition_text, means, seed_text
from gatescope.analysis.intervals import Scale
from gatescope.analysis.statistics import LEVEL_TEXT

TITLE = "Attractor over training"
QUANTITIES = {
    "attractor": "share of seeds with an attractor",
    "points": "slow points",
    "slow_time_constant": "time constant (steps)",
}
CURVES = Curves("step", "step", "", ("quantity",), log_x=True)


def caption(comparison: Comparison) -> str:
    """Describe the quantities, and say what counts as an attractor."""
    table = _table(comparison)
    share = f"{dynamics.LEAST_SHARE:.0%}".replace("%", " %")
    return (
        f"During training{condition_text(table)}, mean and {LEVEL_TEXT} interval over "
        f"{seed_text(table)}; for shares "
        f"of seeds the mean alone. An attractor: at least {dynamics.LEAST_POINTS} slow points, at least "
        f"{share} of their variance in as many dimensions as the decision takes, their extent at "
        f"least {dynamics.LEAST_EXTENT:g} of the states', and as many modes slower than a text of "
        f"median length. "
        "Time constant: of the slowest mode (with K classes, of mode K − 1), median over the slow points."
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return mean and interval by quantity, variant and step."""
    return means(_table(comparison), ["quantity"], "step", scale=_scale)


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one panel per quantity."""
    table = numbers(comparison)
    width = width or style.TWO_COLUMNS
    columns = per_row(width, 2.0)
    with canvas(width, 0.75 + 2.0 * math.ceil(len(QUANTITIES) / columns)) as figure:
        grid = panels(figure, len(QUANTITIES), columns, common_y=False)
        for axes, quantity in zip(grid, QUANTITIES.values(), strict=True):
            own = table[table.quantity == quantity]
            for variant, variant_style in style.styles_of(own.variant).items():
                mean = own[own.variant == variant].set_index("step")
                axes.plot(
                    mean.index, mean["mean"], **(variant_style.points | variant_style.line), clip_on=False
                )
                if quantity != QUANTITIES["attractor"]:
                    band(axes, mean, variant_style.color)
            axes.set_xscale("symlog", linthresh=1)
            axes.set_xlim(-0.2, 1.3 * max(1, own.step.max()))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: power_text(step)))
            axes.set_ylim(bottom=0, top=1 if quantity == QUANTITIES["attractor"] else None)
            axes.set_xlabel("step")
            panel_title(axes, quantity)
        legend(figure, table.variant)
    return figure


def _scale(quantity: str) -> Scale:
    return "proportion" if quantity == QUANTITIES["attractor"] else "positive"


def _table(comparison: Comparison) -> pd.DataFrame:
    """Return the quantities during training under the first condition, a row per run, step and quantity."""
    rows = dynamics.by_run(comparison.tables)
    rows = rows[~rows.tested]
    rows = rows[rows.condition == dynamics.study.conditions(rows)[0]]
    parts = [
        rows[[*dynamics.COLUMNS, "step"]].assign(quantity=label, value=rows[name].fillna(0).astype(float))
        for name, label in QUANTITIES.items()
    ]
    return pd.concat(parts, ignore_index=True)
