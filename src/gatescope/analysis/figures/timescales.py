"""How long each unit's gate keeps: the distribution of effective timescales."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gatescope.analysis import style
from gatescope.analysis.figures.base import NoData
from gatescope.analysis.figures.drawing import canvas, legend, panel_title, panels, per_row
from gatescope.analysis.figures.summaries import seed_text
from gatescope.analysis.gradient_flow import ends, longest
from gatescope.analysis.tables import Tables

TITLE = "Effective timescales"
LONGEST = 1e4
"""Steps; units above it (a gate that float32 cannot tell from 1) are drawn at the edge."""


def caption(tables: Tables) -> str:
    table = _timescales(tables)
    place = f" ({table.condition.iloc[0]})" if table.condition.iloc[0] else ""
    return (
        "Share of units whose gate alone keeps a state for at least so many steps, τ = −1 / mean ln keep"
        f"{place}; units of {seed_text(table)} together, first layer. Cells without a keep gate have none. "
        "A gate's timescale is not memory: compare it with the vanishing curves."
    )


def numbers(tables: Tables) -> pd.DataFrame:
    rows = []
    for time, part in ends(_timescales(tables)).items():
        for variant in style.order(part.variant):
            steps = _steps(part[part.variant == variant])
            low, middle, high = np.quantile(steps, [0.1, 0.5, 0.9])
            rows.append((time, variant, low, middle, high, len(steps)))
    return pd.DataFrame(rows, columns=["time", "variant", "quantile_10", "median", "quantile_90", "units"])


def draw(tables: Tables, width: float | None = None) -> Figure:
    table = _timescales(tables)
    width = width or style.TWO_COLUMNS
    columns = per_row(width, 2.0)
    with canvas(width, 2.6 if columns > 1 else 4.4) as figure:
        grid = panels(figure, 2, columns)
        for axes, (title, part) in zip(grid, ends(table).items(), strict=True):
            _panel(axes, part)
            panel_title(axes, title)
            axes.set_xlabel("timescale τ (steps)")
            axes.set_ylabel("share of units ≥ τ")
            axes.label_outer()
        grid[0].set_xscale("log")
        grid[0].set_ylim(0, 1)
        legend(figure, table.variant)
    return figure


def _panel(axes: Axes, table: pd.DataFrame) -> None:
    for variant, variant_style in style.styles_of(table.variant).items():
        steps = _steps(table[table.variant == variant])
        share = 1 - np.arange(len(steps)) / len(steps)
        axes.plot(
            steps,
            share,
            **variant_style.line,
            marker=variant_style.marker,
            markevery=(0.12, 0.25),
            drawstyle="steps-post",
        )


def _steps(table: pd.DataFrame) -> np.ndarray:
    """Timescales of all units of these runs, in order."""
    return np.sort(np.minimum(np.concatenate([row["columns"]["rate"] for row in table.payload]), LONGEST))


def _timescales(tables: Tables) -> pd.DataFrame:
    table = tables.with_tested(r"gates/[^/]+/timescale")
    table = table[table.kind == "points"]
    if table.empty:
        raise NoData("no finished run has a gate that keeps its state")
    return longest(table[table.name == table.name.min()])
