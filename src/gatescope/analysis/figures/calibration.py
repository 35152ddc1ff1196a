"""Whether probabilities can be believed: accuracy against confidence, of the runs of all seeds together."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gatescope.analysis import errors, study, style
from gatescope.analysis.figures.base import NoData
from gatescope.analysis.figures.drawing import canvas, legend, panel_title, panels, per_row
from gatescope.analysis.tables import Tables

TITLE = "Calibration"
FEWEST = 10
"""Examples in a bin that is drawn: the accuracy of fewer says little."""


def caption(tables: Tables) -> str:
    found = _groups(tables)
    return (
        "Accuracy of the predictions of about this confidence, the probability of the predicted class; on "
        "the dotted line confidence is accuracy, below it the model is too sure. "
        f"{errors.BINS} bins of equal width; those with fewer than {FEWEST} examples are not drawn. "
        f"Runs of {errors.seeds(found)} together."
    )


def numbers(tables: Tables) -> pd.DataFrame:
    return _table(tables)


def draw(tables: Tables, width: float | None = None) -> Figure:
    table = _table(tables)
    places = study.conditions(table)
    width = width or (style.COLUMN if len(places) == 1 else style.TWO_COLUMNS)
    columns = min(len(places), per_row(width, 1.8))
    rows = math.ceil(len(places) / columns)
    with canvas(width, 0.7 + rows * min(2.6, 0.95 * width / columns)) as figure:
        for axes, place in zip(panels(figure, len(places), columns), places, strict=True):
            _panel(axes, table[table.condition == place])
            panel_title(axes, place)
        figure.supxlabel("confidence", fontsize=style.RC["axes.labelsize"])
        figure.supylabel("accuracy", fontsize=style.RC["axes.labelsize"])
        ideal = Line2D([], [], color="#777777", linestyle=":", label="confidence = accuracy")
        legend(figure, table.variant, extra=[ideal])
    return figure


def _panel(axes: Axes, table: pd.DataFrame) -> None:
    axes.plot([0, 1], [0, 1], color="#777777", linestyle=":", linewidth=1)
    for variant, variant_style in style.styles_of(table.variant).items():
        own = table[(table.variant == variant) & (table.n >= FEWEST)]
        axes.plot(own.confidence, own.accuracy, **(variant_style.points | variant_style.line))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def _table(tables: Tables) -> pd.DataFrame:
    """A row a bin that holds examples: variant, condition, low, high, n, confidence, accuracy."""
    parts = [errors.calibration(group.pooled).assign(**group.key) for group in _groups(tables)]
    table = pd.concat(parts, ignore_index=True)
    return table.loc[table.n > 0, ["variant", "condition", *errors.CALIBRATION]].reset_index(drop=True)


def _groups(tables: Tables) -> list[errors.Group]:
    found = errors.groups(tables, classified=True)
    if not found:
        raise NoData("no finished run has kept predictions of classes")
    return found
