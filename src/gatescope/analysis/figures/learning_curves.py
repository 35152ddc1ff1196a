"""The primary metric on validation data over training: one panel per cell, or per condition if several."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gatescope.analysis import study, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.base import Curves
from gatescope.analysis.figures.drawing import band, canvas, frame, legend, panel_title, panels, per_row
from gatescope.analysis.figures.summaries import (
    evenly_spaced,
    mean_over_seeds,
    means,
    one_scale,
    readable_name,
    seed_text,
)
from gatescope.analysis.intervals import Scale, scale_of
from gatescope.analysis.tables import NoData

TITLE = "Learning curves"
PANELS_PER_ROW = 3
CURVES = Curves("epoch", "epoch", "", ("quantity", "condition"))
MAX_RUNS = 30
"""Most runs of a panel that are drawn one by one."""
MAX_PANELS = 6
"""Most conditions that are drawn; of more, evenly spaced ones are."""


def caption(comparison: Comparison) -> str:
    """Describe lines and bands."""
    name, table = _curves(comparison)
    thin = any(part.run_id.nunique() <= MAX_RUNS for part in _parts(table).values())
    lines = "Thin lines: runs; thick lines" if thin else "Lines"
    return (
        f"{readable_name(name).capitalize()} after each epoch. {lines}: mean over {seed_text(table)} with "
        "its 95 % interval, up to the epoch at which the first of them stops early."
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return mean and interval of the metric by condition, variant and epoch."""
    name, table = _curves(comparison)
    return means(table.assign(quantity=name), ["quantity", "condition"], "epoch")


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one panel per condition, or one per cell where there is one condition."""
    name, table = _curves(comparison)
    parts = _parts(table)
    width = width or (style.TWO_COLUMNS if len(parts) > 1 else style.COLUMN)
    columns = min(PANELS_PER_ROW, len(parts), per_row(width, 1.4))
    with canvas(width, 0.6 + 1.75 * math.ceil(len(parts) / columns)) as figure:
        # Conditions may be trained for different numbers of epochs.
        same_length = len({part.epoch.max() for part in parts.values()}) == 1
        # With several datasets a common scale could hide differences.
        common = one_scale((float(part.value.min()), float(part.value.max())) for part in parts.values())
        common = common or table.condition.nunique() == 1
        grid = panels(figure, len(parts), columns, common_x=same_length, common_y=common)
        for axes, (title, part) in zip(grid, parts.items(), strict=True):
            _panel(axes, part, scale_of(name))
            panel_title(axes, title)
        for own in [grid] if common else [[axes] for axes in grid]:
            frame(own, scale_of(name))
        figure.supxlabel("epoch", fontsize=style.RC["axes.labelsize"])
        figure.supylabel(readable_name(name), fontsize=style.RC["axes.labelsize"])
        legend(figure, table.variant)
    return figure


def _panel(axes: Axes, table: pd.DataFrame, scale: Scale) -> None:
    for variant, variant_style in style.styles_of(table.variant).items():
        own = table[table.variant == variant]
        for _, run in own.groupby("run_id") if table.run_id.nunique() <= MAX_RUNS else ():
            axes.plot(run.epoch, run.value, **variant_style.line, linewidth=0.5, alpha=0.4)
        mean = mean_over_seeds(own, "epoch", scale=scale)
        band(axes, mean, variant_style.color)
        axes.plot(
            mean.index,
            mean["mean"],
            **(variant_style.points | variant_style.line),
            markevery=_last_only(mean),
        )
    axes.set_xlim(0.5, max(table.epoch.max(), 1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))


def _last_only(mean: pd.DataFrame) -> list[int]:
    """Return the position of the only marker of a curve, at its end."""
    return [len(mean) - 1] if len(mean) else []


def _curves(comparison: Comparison) -> tuple[str, pd.DataFrame]:
    """Return name and values of the primary metric on validation data, or else of a loss, by epoch."""
    primary = comparison.primary.rpartition("/")[2]
    for name in (f"validation/{primary}", "validation/loss", "train/loss"):
        table = comparison.contenders.metric(name).dropna(subset=["epoch", "value"])
        if len(table):
            table = table.drop_duplicates(["run_id", "epoch"], keep="last")
            return name, table.assign(
                epoch=table.epoch + 1, cell_name=[style.split(v)[0] for v in table.variant]
            )
    raise NoData("no metric was logged on validation data by a finished run")


def _parts(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each panel, by its title."""
    conditions = study.conditions(table)
    if len(conditions) > 1:
        drawn = evenly_spaced(conditions, MAX_PANELS)
        return {words.condition(c): table[table.condition == c] for c in drawn}
    cells = dict.fromkeys(style.split(variant)[0] for variant in style.order(table.variant))
    return {words.variant(cell): table[table.cell_name == cell] for cell in cells}
