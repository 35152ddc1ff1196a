"""How often the gates of each unit are saturated: one scatter plot per gate.

Source: Karpathy et al. 2015, "Visualizing and Understanding Recurrent Networks", figure 3.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gatescope.analysis import study, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.drawing import canvas, legend, panel_title, per_row
from gatescope.analysis.figures.summaries import without_duplicate_gates
from gatescope.analysis.tables import NoData

TITLE = "Gate saturation"
MIN_SIDE = 1.1
"""Least side of a panel in inches."""


def caption(comparison: Comparison) -> str:
    """Describe points and axes."""
    table = _points(comparison)
    place = words.condition(table.condition.iloc[0])
    condition = f", {place}" if place else ""
    return (
        "Each point is a unit of the first layer at the tested weights, on the fixed batch of the probe "
        f"(seed {table.seed.iloc[0]}{condition}): share of positions at which the gate is above 0.9 against "
        "the share at which it is below 0.1 (candidate and state: below −0.9). The update gate is the share "
        "of the new candidate that is written, “share kept” that of the old state (the forget gate of an "
        "LSTM). On the dotted line, where in view, units are always saturated. For a cell without gates, the "
        "state is shown. The axes of a row end at its largest share."
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return the mean shares of each gate by variant."""
    table = _points(comparison)
    rows = []
    for variant in style.order(table.variant):
        own = table[table.variant == variant]
        for gate, payload in zip(own.gate, own.payload, strict=True):
            right, left = (np.asarray(payload["columns"][side]) for side in ("right", "left"))
            always = float(np.mean(right + left > 0.95))
            rows.append((variant, gate, right.mean(), left.mean(), always, len(right)))
    names = ["variant", "gate", "share_above", "share_below", "units_almost_always_saturated", "units"]
    return pd.DataFrame(rows, columns=names)


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one panel per cell and gate."""
    table = _points(comparison)
    cells = list(dict.fromkeys(style.split(variant)[0] for variant in style.order(table.variant)))
    gates = {cell: list(dict.fromkeys(table.gate[table.cell_name == cell])) for cell in cells}
    most = max(len(names) for names in gates.values())
    columns = min(most, per_row(width or style.TWO_COLUMNS, MIN_SIDE))
    rows = [
        (cell, names[at : at + columns])
        for cell, names in gates.items()
        for at in range(0, len(names), columns)
    ]
    size = min(1.4, ((width or style.TWO_COLUMNS) - 0.5) / columns)
    width = width or max(style.COLUMN, 0.5 + size * columns)
    limits = {cell: _limit(table[table.cell_name == cell]) for cell in cells}
    with canvas(width, 0.7 + (size + 0.25) * len(rows)) as figure:
        grid = figure.subplots(len(rows), columns, sharex="row", sharey="row", squeeze=False)
        for axes_row, (cell, names) in zip(grid, rows, strict=True):
            for axes, gate in zip(axes_row, names, strict=False):
                _panel(axes, table[(table.cell_name == cell) & (table.gate == gate)])
                axes.set(xlim=(0, limits[cell]), ylim=(0, limits[cell]), aspect="equal")
                axes.tick_params(labelbottom=True)
                axes.locator_params(nbins=3)
                panel_title(axes, f"{words.variant(cell)}: {words.gate(gate)}")
            for axes in axes_row[len(names) :]:
                axes.remove()
        figure.supxlabel("share of positions above 0.9", fontsize=style.RC["axes.labelsize"])
        figure.supylabel("share of positions below 0.1", fontsize=style.RC["axes.labelsize"])
        legend(figure, table.variant, lines=False)
    return figure


def _limit(table: pd.DataFrame) -> float:
    """Return where the axes end: a little above the largest share, and at most at 1."""
    largest = max(max(payload["columns"][side]) for payload in table.payload for side in ("right", "left"))
    return min(1.0, max(0.05, math.ceil(1.05 * largest * 20) / 20))


def _panel(axes: Axes, table: pd.DataFrame) -> None:
    axes.plot([0, 1], [1, 0], color="#999999", linewidth=0.7, linestyle=":")
    styles = style.styles_of(table.variant)
    for variant, payload in zip(table.variant, table.payload, strict=True):
        columns = payload["columns"]
        points = styles[variant].points | {"markersize": 2.8, "alpha": 0.65, "markeredgewidth": 0.6}
        axes.plot(columns["right"], columns["left"], **points, clip_on=False)


def _points(comparison: Comparison) -> pd.DataFrame:
    """Return the saturation of the gates of the first layer at the tested weights, by variant and gate.

    It is of the first condition, and of the seed that most variants have.
    """
    table = comparison.tables.of_tested(r"gates/[^/]+/[^/]+/saturation")
    table = table[table.kind == "points"]
    if table.empty:
        raise NoData("no finished run has measurements of gates (instruments=off, or no recurrent layer)")
    parts = table.name.str.split("/")
    table = table.assign(layer=parts.str[1], gate=parts.str[2])
    table = without_duplicate_gates(table[table.layer == table.layer.min()])
    table = table[table.condition == study.conditions(table)[0]]
    seed = table.groupby("seed").variant.nunique().idxmax()
    table = table[table.seed == seed].sort_values("step", kind="stable")
    table = table.drop_duplicates(["variant", "gate"], keep="last").sort_index()
    table = table.assign(cell_name=[style.split(variant)[0] for variant in table.variant])
    gated = table[table.gate != "state"].cell_name.unique()
    return table[(table.gate != "state") | ~table.cell_name.isin(gated)]
