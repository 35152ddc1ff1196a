"""Spectrum of time constants at the slow points: the slowest mode, the next, …"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gatescope.analysis import dynamics, study, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.base import Curves
from gatescope.analysis.figures.drawing import (
    band,
    canvas,
    format_log_axis,
    legend,
    panel_title,
    panels,
    per_row,
)
from gatescope.analysis.figures.summaries import evenly_spaced, means, omitted_conditions, seed_text
from gatescope.analysis.statistics import LEVEL_TEXT
from gatescope.analysis.tables import NoData

TITLE = "Time constants"
MAX_PANELS = 6
SHOWN = 32
"""Most modes that are drawn."""
FLOOR = 0.1
"""In time steps; faster modes are forgotten within a step and drawn here."""
CURVES = Curves("mode", "mode", "time constant (steps)", ("condition",), log_x=True, log_y=True)


def caption(comparison: Comparison) -> str:
    """Describe modes, means and the line."""
    table = _table(comparison)
    return (
        "Time constants τ = |1 / ln|λ|| of the modes of the top layer at its slow points, at the tested "
        "weights, "
        "the slowest first: median over points, geometric mean and "
        f"{LEVEL_TEXT} interval over {seed_text(table)}. Dotted: length of a text (median). Modes above "
        f"it outlast "
        f"a text; an attractor of one dimension has one. Values below {FLOOR} are drawn at {FLOOR}."
        + omitted_conditions(study.conditions(table), MAX_PANELS)
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return mean and interval of each time constant by condition, variant and mode."""
    return means(_table(comparison), ["condition"], "mode", geometric=True)


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one panel per condition."""
    table, lengths = numbers(comparison), dynamics.by_run(comparison.tables)
    conditions = evenly_spaced(study.conditions(table), MAX_PANELS)
    width = width or (style.COLUMN if len(conditions) == 1 else style.TWO_COLUMNS)
    columns = min(len(conditions), per_row(width, 2.0))
    with canvas(width, 0.75 + 2.0 * math.ceil(len(conditions) / columns)) as figure:
        grid = panels(figure, len(conditions), columns)
        for axes, condition in zip(grid, conditions, strict=True):
            own = table[table.condition == condition]
            for variant, variant_style in style.styles_of(own.variant).items():
                mean = own[own.variant == variant].set_index("mode")
                every = {"markevery": 3, "markersize": 3}
                axes.plot(mean.index, mean["mean"], **(variant_style.points | variant_style.line | every))
                band(axes, mean, variant_style.color)
            length = lengths.length[lengths.condition == condition].median()
            axes.axhline(length, color="#555555", linewidth=0.8, linestyle=":")
            panel_title(axes, words.condition(condition))
            axes.set_xlabel("mode, the slowest first")
            axes.set_ylabel("time constant (steps)")
            axes.label_outer()
        grid[0].set_xscale("log")
        grid[0].set_yscale("log")
        for axes in grid:
            format_log_axis(axes.xaxis)
            format_log_axis(axes.yaxis)
        legend(figure, table.variant)
    return figure


def _table(comparison: Comparison) -> pd.DataFrame:
    """Return the time constants of the tested weights, a row per run and mode."""
    table = dynamics.measurements(comparison.tables, "time_constants")
    table = table[table.kind == "curve"].sort_values(["tested", "step"], kind="stable")
    table = table.drop_duplicates("run_id", keep="last").sort_index()
    if table.empty:
        raise NoData("no finished run has time constants")
    table = table.assign(
        mode=[payload["x"][:SHOWN] for payload in table.payload],
        value=[np.maximum(payload["y"][:SHOWN], FLOOR) for payload in table.payload],
    )
    rows = table[[*dynamics.COLUMNS, "mode", "value"]].explode(["mode", "value"], ignore_index=True)
    return rows.astype({"mode": float, "value": float})
