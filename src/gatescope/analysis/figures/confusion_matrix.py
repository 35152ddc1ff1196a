"""Confusion matrices, one per variant and condition, with all seeds pooled."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from gatescope.analysis import errors, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.errors import Group, confused_pairs, confusion, confusion_cells, seed_text
from gatescope.analysis.figures.drawing import canvas, panel_title, per_row
from gatescope.analysis.figures.summaries import evenly_spaced, omitted_conditions
from gatescope.analysis.tables import NoData

TITLE = "Confusion matrix"
MAX_PANELS = 12
MAX_NAMES = 12
"""Most classes whose names are written along both sides; of more classes, evenly spaced ones are named."""
MAX_WRITTEN = 6
"""Most classes for which the shares are written into the matrix."""
MAX_ROWS = 120
"""Most rows of the numbers; `tables/confusion.csv` contains all."""
MAX_LETTERS = 14
"""Most letters of a name in the figure."""


def caption(comparison: Comparison) -> str:
    """Describe rows, columns and shades."""
    groups = _groups(comparison)
    omitted = ""
    if len(drawn := _drawn(comparison, groups)) < len(groups):
        omitted = " Of each condition, the variant with the best mean is drawn."
        omitted += omitted_conditions(list(dict.fromkeys(one.condition for one in groups)), len(drawn))
    return (
        "Rows: true class; columns: predicted class; shade: share of the test examples of the true class, on "
        f"a square-root scale; on the diagonal it is the recall. Runs of {seed_text(groups)} are "
        f"pooled.{omitted} All counts: `tables/confusion.csv`."
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return all cells that are not 0 or, if these are many, the commonest confusions of each variant."""
    groups = _groups(comparison)
    matrices = [(group, confusion(group.pooled)) for group in groups]
    parts = [confusion_cells(counts).assign(**group.key) for group, counts in matrices]
    if sum(map(len, parts)) > MAX_ROWS:
        most = max(3, MAX_ROWS // len(groups))
        parts = [confused_pairs(counts).head(most).assign(**group.key) for group, counts in matrices]
    table = pd.concat(parts, ignore_index=True)
    return table[["variant", "condition", "true", "predicted", "n", "share"]]


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one matrix per variant and condition."""
    groups = _drawn(comparison, _groups(comparison))
    most = max(len(confusion(group.pooled)) for group in groups)
    width = width or (style.COLUMN if len(groups) == 1 and most <= MAX_NAMES else style.TWO_COLUMNS)
    columns = min(len(groups), per_row(width, 2.1 if most <= MAX_NAMES else 3.0))
    rows = math.ceil(len(groups) / columns)
    side = min(3.4, (width - 0.3) / columns)
    several = len({group.condition for group in groups}) > 1
    with canvas(width, 0.35 + rows * (side + 0.2 + 0.12 * several)) as figure:
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, group in zip(grid, groups, strict=False):
            _panel(axes, confusion(group.pooled))
            place = words.condition(group.condition) if several else ""
            panel_title(axes, "\n".join(filter(None, [words.variant(group.variant), place])))
        for axes in grid[len(groups) :]:
            axes.remove()
        figure.supxlabel("predicted class", fontsize=style.RC["axes.labelsize"])
        figure.supylabel("true class", fontsize=style.RC["axes.labelsize"])
    return figure


def _panel(axes: Axes, counts: pd.DataFrame) -> None:
    values = counts.to_numpy(dtype=float)
    totals = values.sum(axis=1, keepdims=True)
    shares = np.divide(values, totals, out=np.zeros_like(values), where=totals > 0)
    # With many classes the share of each confusion is small; square roots make it visible.
    scale = PowerNorm(0.5, vmin=0, vmax=1)
    axes.imshow(shares, cmap="Greys", norm=scale, interpolation="nearest", aspect="equal")
    axes.grid(visible=False)
    names = [_short(str(name)) for name in counts.index]
    places = [int(i) for i in evenly_spaced([str(i) for i in range(len(names))], MAX_NAMES)]
    axes.set_xticks(places, [names[i] for i in places], rotation=90)
    axes.set_yticks(places, [names[i] for i in places])
    if len(names) <= MAX_WRITTEN:
        for (row, column), share in np.ndenumerate(shares):
            color = "white" if share > 0.3 else "black"
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", fontsize=6.5, color=color)


def _short(name: str) -> str:
    text = "".join(c if c.isprintable() else " " for c in name)
    return style.escape(text if len(text) <= MAX_LETTERS else f"{text[: MAX_LETTERS - 1]}…")


def _drawn(comparison: Comparison, groups: list[Group]) -> list[Group]:
    """Return all groups, or if these are many, that of the best variant under each condition."""
    if len(groups) <= MAX_PANELS:
        return groups
    best: dict[str, Group] = {}
    for group in groups:
        leader = comparison.leaders.get(group.condition)
        if group.condition not in best or (leader and leader.variant == group.variant):
            best[group.condition] = group
    return [best[condition] for condition in evenly_spaced(list(best), MAX_PANELS)]


def _groups(comparison: Comparison) -> list[Group]:
    groups = errors.groups(comparison.tables, classified=True)
    if not groups:
        raise NoData("no finished run has recorded predictions of classes")
    return groups
