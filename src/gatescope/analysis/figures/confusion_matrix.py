"""Which classes are taken for which: a matrix a variant, of the runs of all seeds together."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from gatescope.analysis import style
from gatescope.analysis.errors import Group, cells, confused, confusion, groups, seeds
from gatescope.analysis.figures.base import NoData
from gatescope.analysis.figures.drawing import canvas, panel_title, per_row
from gatescope.analysis.figures.summaries import evenly_spaced
from gatescope.analysis.tables import Tables

TITLE = "Confusion matrix"
MOST_PANELS = 12
NAMED = 12
"""Classes whose names stand along both sides; of more only some do."""
WRITTEN = 6
"""Classes whose shares are written into the matrix."""
MOST_ROWS = 120
"""Of the numbers; `tables/confusion.csv` has all of them."""
LONGEST = 14
"""Letters of a name in the figure."""


def caption(tables: Tables) -> str:
    found = _groups(tables)
    more = len(found) - MOST_PANELS
    left = f" The first {MOST_PANELS} of {len(found)} variants are drawn." if more > 0 else ""
    return (
        "Rows: the true class; columns: the predicted one; shade: share of the true class's test examples "
        "(on a scale of square roots), which is the recall on the diagonal. "
        f"Runs of {seeds(found)} together.{left} All counts: `tables/confusion.csv`."
    )


def numbers(tables: Tables) -> pd.DataFrame:
    """All cells that are not 0, or, where these are many, each variant's commonest confusions."""
    found = _groups(tables)
    matrices = [(group, confusion(group.pooled)) for group in found]
    parts = [cells(counts).assign(**group.key) for group, counts in matrices]
    if sum(map(len, parts)) > MOST_ROWS:
        most = max(3, MOST_ROWS // len(found))
        parts = [confused(counts).head(most).assign(**group.key) for group, counts in matrices]
    table = pd.concat(parts, ignore_index=True)
    return table[["variant", "condition", "true", "predicted", "n", "share"]]


def draw(tables: Tables, width: float | None = None) -> Figure:
    found = _groups(tables)[:MOST_PANELS]
    most = max(len(confusion(group.pooled)) for group in found)
    width = width or (style.COLUMN if len(found) == 1 and most <= NAMED else style.TWO_COLUMNS)
    columns = min(len(found), per_row(width, 2.1 if most <= NAMED else 3.0))
    rows = math.ceil(len(found) / columns)
    side = min(3.4, (width - 0.3) / columns)
    several = len({group.condition for group in found}) > 1
    with canvas(width, 0.35 + rows * (side + 0.2)) as figure:
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, group in zip(grid, found, strict=False):
            _panel(axes, confusion(group.pooled))
            place = f" ({group.condition})" if several else ""
            panel_title(axes, f"{style.style_of(group.variant).label}{place}".replace(r"\$", "$"))
        for axes in grid[len(found) :]:
            axes.remove()
        figure.supxlabel("predicted class", fontsize=style.RC["axes.labelsize"])
        figure.supylabel("true class", fontsize=style.RC["axes.labelsize"])
    return figure


def _panel(axes: Axes, counts: pd.DataFrame) -> None:
    values = counts.to_numpy(dtype=float)
    totals = values.sum(axis=1, keepdims=True)
    shares = np.divide(values, totals, out=np.zeros_like(values), where=totals > 0)
    # By square roots: of many classes each confusion is a small share.
    scale = PowerNorm(0.5, vmin=0, vmax=1)
    axes.imshow(shares, cmap="Greys", norm=scale, interpolation="nearest", aspect="equal")
    axes.grid(visible=False)
    names = [_short(str(name)) for name in counts.index]
    places = [int(i) for i in evenly_spaced([str(i) for i in range(len(names))], NAMED)]
    axes.set_xticks(places, [names[i] for i in places], rotation=90)
    axes.set_yticks(places, [names[i] for i in places])
    if len(names) <= WRITTEN:
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.3 else "black"
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", fontsize=6.5, color=colour)


def _short(name: str) -> str:
    text = "".join(c if c.isprintable() else " " for c in name)
    return style.escape(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def _groups(tables: Tables) -> list[Group]:
    found = groups(tables, classified=True)
    if not found:
        raise NoData("no finished run has kept predictions of classes")
    return found
