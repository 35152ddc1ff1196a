"""The primary metric on validation data over training, a panel a cell."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gatescope.analysis import style
from gatescope.analysis.figures.base import NoData, canvas, legend, mean_over_seeds, panel_title, seeds, words
from gatescope.analysis.runs import Tables

TITLE = "Learning curves"
MOST_COLUMNS = 3
MOST_ROWS = 4
"""Of conditions; with more, this many are drawn, evenly chosen."""


def caption(tables: Tables) -> str:
    name, table = _curves(tables)
    return (
        f"{words(name).capitalize()} after each epoch. Thin lines: runs; thick lines: mean over "
        f"{seeds(table)}, drawn while all of them train (early stopping ends them at different epochs)."
    )


def draw(tables: Tables) -> Figure:
    name, table = _curves(tables)
    conditions = _spread(sorted(table.condition.unique()))
    panels = [(cell, c) for c in conditions for cell in _cells(table)]
    columns = len(_cells(table)) if len(conditions) > 1 else min(MOST_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    width = style.TWO_COLUMNS if columns > 1 else style.COLUMN
    with canvas(width, 0.55 + (1.75 if columns <= MOST_COLUMNS else 1.25) * rows) as figure:
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (cell, condition) in zip(grid.flat, panels, strict=False):
            part = table[(table["cell_name"] == cell) & (table.condition == condition)]
            _panel(axes, part)
            panel_title(axes, ", ".join(filter(None, [style.look(cell).label, condition])))
        for axes in list(grid.flat)[len(panels) :]:
            axes.remove()
        figure.supxlabel("epoch", fontsize=style.RC["axes.labelsize"])
        figure.supylabel(words(name), fontsize=style.RC["axes.labelsize"])
        legend(figure, table.variant)
    return figure


def _panel(axes: Axes, table: pd.DataFrame) -> None:
    for variant, look in style.looks(table.variant).items():
        own = table[table.variant == variant]
        for _, run in own.groupby("run_id"):
            axes.plot(run.epoch, run.value, **look.line, linewidth=0.5, alpha=0.4)
        mean = mean_over_seeds(own, "epoch")
        axes.plot(mean.index, mean["mean"], **(look.points | look.line), markevery=_last_only(mean))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _last_only(mean: pd.DataFrame) -> list[int]:
    return [len(mean) - 1] if len(mean) else []


def _curves(tables: Tables) -> tuple[str, pd.DataFrame]:
    """The validation metric that the study compares on, else the validation loss, by epoch."""
    primary = str(tables.study.get("primary", "")).rpartition("/")[2]
    for name in (f"validation/{primary}", "validation/loss", "train/loss"):
        table = tables.metric(name).dropna(subset=["epoch", "value"])
        if len(table):
            table = table.drop_duplicates(["run_id", "epoch"], keep="last")
            return name, table.assign(cell_name=[style.split(v)[0] for v in table.variant])
    raise NoData("no metric was logged on validation data by a finished run")


def _cells(table: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(style.split(variant)[0] for variant in style.order(table.variant)))


def _spread(conditions: list[str]) -> list[str]:
    if len(conditions) <= MOST_ROWS:
        return conditions
    places = np.linspace(0, len(conditions) - 1, MOST_ROWS).round().astype(int)
    return [conditions[place] for place in places]
