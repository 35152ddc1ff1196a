"""How long each unit's gate keeps: the distribution of effective timescales."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gatescope.analysis import style
from gatescope.analysis.figures.base import NoData, canvas, legend, panel_title, seeds
from gatescope.analysis.gradient_flow import ends, longest
from gatescope.analysis.runs import Tables

TITLE = "Effective timescales"
LONGEST = 1e4
"""Steps; units above it (a gate that float32 cannot tell from 1) are drawn at the edge."""


def caption(tables: Tables) -> str:
    table = _timescales(tables)
    place = f" ({table.condition.iloc[0]})" if table.condition.iloc[0] else ""
    return (
        "Share of units whose gate alone keeps a state for at least so many steps, τ = −1 / mean ln keep"
        f"{place}; units of {seeds(table)} together, first layer. Cells without a keep gate have none. "
        "A gate's timescale is not memory: compare it with the vanishing curves."
    )


def draw(tables: Tables) -> Figure:
    table = _timescales(tables)
    with canvas(style.TWO_COLUMNS, 2.6) as figure:
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, (title, part) in zip(panels, ends(table).items(), strict=True):
            _panel(axes, part)
            panel_title(axes, title)
            axes.set_xlabel("timescale τ (steps)")
        panels[0].set_xscale("log")
        panels[0].set_ylabel("share of units ≥ τ")
        panels[0].set_ylim(0, 1)
        legend(figure, table.variant)
    return figure


def _panel(axes: Axes, table: pd.DataFrame) -> None:
    for variant, look in style.looks(table.variant).items():
        columns = [row["columns"]["rate"] for row in table.payload[table.variant == variant]]
        steps = np.sort(np.minimum(np.concatenate(columns), LONGEST))
        share = 1 - np.arange(len(steps)) / len(steps)
        axes.plot(
            steps, share, **look.line, marker=look.marker, markevery=(0.12, 0.25), drawstyle="steps-post"
        )


def _timescales(tables: Tables) -> pd.DataFrame:
    table = tables.reading(r"gates/[^/]+/timescale")
    table = table[table.kind == "points"]
    if table.empty:
        raise NoData("no finished run has a gate that keeps its state")
    return longest(table[table.name == table.name.min()])
