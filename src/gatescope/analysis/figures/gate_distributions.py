"""Distribution of the values of each gate over training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from gatescope.analysis import study, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.drawing import canvas, legend, panel_title, per_row
from gatescope.analysis.figures.summaries import (
    condition_text,
    evenly_spaced,
    seed_text,
    without_duplicate_gates,
)
from gatescope.analysis.tables import NoData

TITLE = "Gate distributions over training"
LEVELS = (0.1, 0.5, 0.9)
MAX_TICKS = 3
OUTLINE = withStroke(linewidth=2.6, foreground="white")
"""Behind each line, so that a dark one is visible on a dark shade."""


def caption(comparison: Comparison) -> str:
    """Describe shades, lines and gates."""
    table = _histograms(comparison)
    return (
        f"Shade: number of units and valid positions of the batch of the probe{condition_text(table)} at "
        "which a gate of the first layer has this value, relative to the most frequent value of the column; "
        f"thick line: median, thin lines: 10 and 90 % quantiles. Histograms of {seed_text(table)} are "
        "pooled; one variant per cell. The update gate is the share of the candidate that is written, "
        "“share kept” that of the old state (the forget gate of an LSTM); candidates and states lie between "
        "−1 and 1."
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return the quantiles of each gate by variant and step."""
    rows = []
    for (variant, gate), part in _grouped(comparison):
        for step, counts, edges in _columns(part):
            low, middle, high = (_quantile(counts, edges, level) for level in LEVELS)
            rows.append((variant, gate, step, low, middle, high))
    return pd.DataFrame(rows, columns=["variant", "gate", "step", "quantile_10", "median", "quantile_90"])


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one panel per cell and gate."""
    grouped = _grouped(comparison)
    variants = list(dict.fromkeys(variant for (variant, _), _ in grouped))
    shown = {v: [(gate, part) for (variant, gate), part in grouped if variant == v] for v in variants}
    width = width or style.TWO_COLUMNS
    columns = min(max(map(len, shown.values())), per_row(width, 1.2))
    rows = [(v, own[at : at + columns]) for v, own in shown.items() for at in range(0, len(own), columns)]
    styles = style.styles_of(variants)
    with canvas(width, 0.7 + 1.3 * len(rows)) as figure:
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for axes_row, (variant, own) in zip(grid, rows, strict=True):
            for axes, (gate, part) in zip(axes_row, own, strict=False):
                _panel(axes, part, styles[variant].line)
                panel_title(axes, f"{words.variant(style.split(variant)[0])}: {words.gate(gate)}")
            for axes in axes_row[len(own) :]:
                axes.remove()
        figure.supxlabel("step", fontsize=style.RC["axes.labelsize"])
        figure.supylabel("value of the gate", fontsize=style.RC["axes.labelsize"])
        legend(figure, variants, markers=False)
    return figure


def _panel(axes: Axes, table: pd.DataFrame, line: dict[str, Any]) -> None:
    columns = _columns(table)
    edges = columns[0][2]
    density = np.column_stack([counts / max(counts.max(), 1) for _, counts, _ in columns])
    # Columns are equally wide, because recorded steps grow as powers of two.
    axes.pcolormesh(
        np.arange(len(columns) + 1) - 0.5, edges, density, cmap="Greys", vmin=0, vmax=1.4, rasterized=True
    )
    for level in LEVELS:
        values = [_quantile(counts, bins, level) for _, counts, bins in columns]
        axes.plot(values, **line, linewidth=1.4 if level == 0.5 else 0.8, path_effects=[OUTLINE])
    positions = [
        int(position) for position in evenly_spaced([str(i) for i in range(len(columns))], MAX_TICKS)
    ]
    axes.set_xticks(positions, [f"{columns[position][0]:g}" for position in positions])
    axes.set_ylim(edges[0], edges[-1])
    axes.grid(visible=False)


def _columns(table: pd.DataFrame) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Return (step, counts, edges) at each step that all runs have, with counts summed over runs."""
    runs = table.run_id.nunique()
    columns = []
    for step, part in table.groupby("step"):
        edges = np.asarray(part.payload.iloc[0]["edges"], dtype=float)
        counts = [np.asarray(row["counts"], dtype=float) for row in part.payload]
        if len(counts) == runs and len({len(own) for own in counts}) == 1:
            columns.append((float(str(step)), np.sum(counts, axis=0), edges))
    return columns


def _quantile(counts: np.ndarray, edges: np.ndarray, level: float) -> float:
    """Return a quantile of a histogram, with values evenly distributed in each bin; NaN if it is empty."""
    total = counts.sum()
    if not total:
        return math.nan
    return float(np.interp(level, np.concatenate([[0], np.cumsum(counts)]) / total, edges))


def _grouped(comparison: Comparison) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """Return the histograms by (variant, gate), gates in the order of the records."""
    table = _histograms(comparison)
    grouped = []
    for variant in style.order(table.variant):
        own = table[table.variant == variant]
        grouped += [((variant, gate), own[own.gate == gate]) for gate in dict.fromkeys(own.gate)]
    return [(key, part) for key, part in grouped if _columns(part)]


def _histograms(comparison: Comparison) -> pd.DataFrame:
    """Return the histograms of the gates of the first layer: last condition, first variant of each cell."""
    table = comparison.contenders.measurement(r"gates/[^/]+/[^/]+/histogram")
    table = table[table.kind == "histogram"]
    if table.empty:
        raise NoData("no finished run has histograms of gates (instruments=off, or no recurrent layer)")
    parts = table.name.str.split("/")
    table = table.assign(layer=parts.str[1], gate=parts.str[2])
    table = without_duplicate_gates(table[table.layer == table.layer.min()])
    table = table[table.condition == study.conditions(table)[-1]]
    first: dict[str, str] = {}
    for variant in style.order(table.variant):
        first.setdefault(style.split(variant)[0], variant)
    return table[table.variant.isin(first.values())]
