"""The primary metric on validation data over training: a panel a cell, or a condition if several."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gatescope.analysis import study, style
from gatescope.analysis.figures.base import Curves, NoData
from gatescope.analysis.figures.drawing import band, canvas, legend, panel_title, panels, per_row
from gatescope.analysis.figures.summaries import (
    evenly_spaced,
    mean_over_seeds,
    means,
    readable_name,
    seed_text,
)
from gatescope.analysis.tables import Tables

TITLE = "Learning curves"
MOST_COLUMNS = 3
CURVES = Curves("epoch", "epoch", "", ("quantity", "condition"))
MOST_PANELS = 6
"""Of conditions; with more, this many are drawn, evenly chosen."""


def caption(tables: Tables) -> str:
    name, table = _curves(tables)
    return (
        f"{readable_name(name).capitalize()} after each epoch. Thin lines: runs; thick lines: mean over "
        f"{seed_text(table)} with its 95 % t interval, drawn while "
        "all of them train (early stopping ends them at different epochs)."
    )


def numbers(tables: Tables) -> pd.DataFrame:
    name, table = _curves(tables)
    return means(table.assign(quantity=name), ["quantity", "condition"], "epoch")


def draw(tables: Tables, width: float | None = None) -> Figure:
    name, table = _curves(tables)
    parts = _parts(table)
    width = width or (style.TWO_COLUMNS if len(parts) > 1 else style.COLUMN)
    columns = min(MOST_COLUMNS, len(parts), per_row(width, 1.4))
    with canvas(width, 0.6 + 1.75 * math.ceil(len(parts) / columns)) as figure:
        # Conditions may be trained for unlike numbers of epochs, each as long as its data ask for.
        alike = len({part.epoch.max() for part in parts.values()}) == 1
        # One scale compares cells on one dataset, but hides what differs on one dataset among several.
        several = table.condition.nunique() > 1
        places = panels(figure, len(parts), columns, common_x=alike, common_y=not several)
        for axes, (title, part) in zip(places, parts.items(), strict=True):
            _panel(axes, part)
            panel_title(axes, title)
        figure.supxlabel("epoch", fontsize=style.RC["axes.labelsize"])
        figure.supylabel(readable_name(name), fontsize=style.RC["axes.labelsize"])
        legend(figure, table.variant)
    return figure


def _panel(axes: Axes, table: pd.DataFrame) -> None:
    for variant, variant_style in style.styles_of(table.variant).items():
        own = table[table.variant == variant]
        for _, run in own.groupby("run_id"):
            axes.plot(run.epoch, run.value, **variant_style.line, linewidth=0.5, alpha=0.4)
        mean = mean_over_seeds(own, "epoch")
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
    return [len(mean) - 1] if len(mean) else []


def _curves(tables: Tables) -> tuple[str, pd.DataFrame]:
    """The validation metric that the study compares on, else the validation loss, by epoch."""
    primary, tables = study.primary(tables).rpartition("/")[2], study.contenders(tables)
    for name in (f"validation/{primary}", "validation/loss", "train/loss"):
        table = tables.metric(name).dropna(subset=["epoch", "value"])
        if len(table):
            table = table.drop_duplicates(["run_id", "epoch"], keep="last")
            return name, table.assign(
                epoch=table.epoch + 1, cell_name=[style.split(v)[0] for v in table.variant]
            )
    raise NoData("no metric was logged on validation data by a finished run")


def _parts(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What each panel shows, by its title."""
    places = study.conditions(table)
    if len(places) > 1:
        return {place: table[table.condition == place] for place in evenly_spaced(places, MOST_PANELS)}
    cells = dict.fromkeys(style.split(variant)[0] for variant in style.order(table.variant))
    return {style.style_of(cell).label: table[table.cell_name == cell] for cell in cells}
