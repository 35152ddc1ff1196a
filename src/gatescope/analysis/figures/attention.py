"""Statistics of the attention weights over training: entropy, effective length, distance."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gatescope.analysis import study, style
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.base import Curves
from gatescope.analysis.figures.drawing import band, canvas, frame, legend, panel_title, per_row
from gatescope.analysis.figures.summaries import condition_text, mean_over_seeds, means, seed_text
from gatescope.analysis.intervals import Scale
from gatescope.analysis.tables import NoData

TITLE = "Attention over training"
CURVES = Curves("step", "step", "", ("quantity",))
QUANTITIES = {
    "entropy": "entropy (share of ln length)",
    "effective_length": "effective length (positions)",
    "distance": "distance from the query (steps)",
}


def caption(comparison: Comparison) -> str:
    """Describe the quantities and the batch they are measured on."""
    table = _measurements(comparison)
    return (
        f"Attention weights on the fixed batch of the probe{condition_text(table)}: entropy divided by the "
        "logarithm of the length (1: uniform), exp(entropy), and mean distance from the query. Mean over "
        f"examples and heads, then over {seed_text(table)}; bands: 95 % t interval over seeds. Weights "
        "belong to hidden states, not to tokens."
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return mean and interval of each quantity by variant and step."""
    return means(_measurements(comparison), ["quantity"], "step", scale=_scale)


def _scale(quantity: str) -> Scale:
    return "proportion" if quantity == QUANTITIES["entropy"] else "positive"


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one panel per quantity."""
    table = _measurements(comparison)
    names = [name for name in QUANTITIES.values() if name in set(table.quantity)]
    width = width or style.TWO_COLUMNS
    columns = len(names) if per_row(width) >= len(names) else 1
    with canvas(width, 0.75 + 1.6 * len(names) / columns) as figure:
        grid = list(figure.subplots(len(names) // columns, columns, sharex=True, squeeze=False).flat)
        for axes, name in zip(grid, names, strict=True):
            _panel(axes, table[table.quantity == name], _scale(name))
            panel_title(axes, name)
        for axes, name in zip(grid, names, strict=True):
            axes.set_xlabel("step" if axes in grid[-columns:] else "")
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            frame([axes], _scale(name))
        legend(figure, table.variant)
    return figure


def _panel(axes: Axes, table: pd.DataFrame, scale: Scale) -> None:
    for variant, variant_style in style.styles_of(table.variant).items():
        mean = mean_over_seeds(table[table.variant == variant], "step", scale=scale)
        axes.plot(
            mean.index, mean["mean"], **(variant_style.points | variant_style.line), markevery=(0.0, 0.25)
        )
        band(axes, mean, variant_style.color)


def _measurements(comparison: Comparison) -> pd.DataFrame:
    """Return the measurements under the last condition, with the name of each quantity."""
    table = comparison.tables.measurement("attention/(" + "|".join(QUANTITIES) + ")").dropna(subset=["value"])
    if table.empty:
        raise NoData(
            "no finished run has measurements of attention: they need a variant with attention and "
            "instruments other than off"
        )
    table = table[table.condition == study.conditions(table)[-1]]
    return table.assign(quantity=table.name.str.split("/").str[1].map(QUANTITIES))
