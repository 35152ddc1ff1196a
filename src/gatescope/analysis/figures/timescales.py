"""Distribution of the effective timescales of the gates of units."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gatescope.analysis import style
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.drawing import canvas, format_log_axis, legend, panel_title, panels, per_row
from gatescope.analysis.figures.summaries import condition_text, seed_text
from gatescope.analysis.gradient_flow import ends, longest
from gatescope.analysis.tables import NoData

TITLE = "Effective timescales"
MAX_TIMESCALE = 1e4
"""In time steps; larger values (of gates that equal 1 in float32) are drawn at the edge."""


def caption(comparison: Comparison) -> str:
    """Describe the timescale and the units that are counted."""
    table = _timescales(comparison)
    return (
        "Share of units whose gate, taken alone, keeps a state for at least τ time steps, τ = −1 / mean ln "
        f"keep{condition_text(table)}. Units of the first layer, with {seed_text(table)} pooled. Cells "
        "without a keep gate have no timescale. The timescale of a gate does not measure memory: compare the "
        "vanishing curves."
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return quantiles of the timescales of units by time and variant."""
    rows = []
    for time, part in ends(_timescales(comparison)).items():
        for variant in style.order(part.variant):
            steps = _steps(part[part.variant == variant])
            low, middle, high = np.quantile(steps, [0.1, 0.5, 0.9])
            rows.append((time, variant, low, middle, high, len(steps)))
    return pd.DataFrame(rows, columns=["time", "variant", "quantile_10", "median", "quantile_90", "units"])


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw the distribution at initialisation and at the tested weights."""
    table = _timescales(comparison)
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
        for axes in grid:
            format_log_axis(axes.xaxis)
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
    """Return the timescales of all units of these runs, sorted."""
    return np.sort(
        np.minimum(np.concatenate([row["columns"]["rate"] for row in table.payload]), MAX_TIMESCALE)
    )


def _timescales(comparison: Comparison) -> pd.DataFrame:
    """Return the timescales of the first layer under one condition, one row per run and step."""
    table = comparison.tables.with_tested(r"gates/[^/]+/timescale")
    table = table[table.kind == "points"]
    if table.empty:
        raise NoData("no finished run has measured the timescale of a gate that keeps the state")
    return longest(table[table.name == table.name.min()])
