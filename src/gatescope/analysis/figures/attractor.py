"""States of texts in the plane of their first two components, with slow and fixed points."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gatescope.analysis import dynamics, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.drawing import canvas, panel_title, panels, per_row
from gatescope.analysis.figures.summaries import condition_text
from gatescope.analysis.tables import NoData

TITLE = "States walking along the attractor"
CLASS_COLORS = ("#b2182b", "#2166ac", "#7f7f2a", "#5a3d8a", "#1b7f5c", "#d98b1f", "#7a4b2a")
"""Colour of the texts of each class; further classes begin again."""
SLOW, FIXED = "#9a9a9a", "#000000"


def caption(comparison: Comparison) -> str:
    """Describe walks, points and axes."""
    table = _table(comparison)
    return (
        f"Each line is the state of the top layer while it reads one text of the fixed "
        f"batch{condition_text(table)}, "
        f"at the tested weights (seed {table.seed.iloc[0]}), from the first state (small dot) to the "
        f"last (large "
        "dot), in the colour of its class. Grey: slow points, which move little within a text of median "
        "length "
        "at a constant input; black: fixed points. Axes: the first two principal components of the "
        "states, the "
        "first towards the last class; their share of the variance differs between panels."
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return counts and the extent of points and states along the first component, by variant."""
    table = _table(comparison)
    walks = dynamics.payloads(table[table.quantity == "walks"], "points")
    rows = []
    for variant, payload in dynamics.payloads(table[table.quantity == "plane"], "points").items():
        first, fixed = (np.asarray(payload["columns"][name]) for name in ("first", "fixed"))
        slow, exact = first[fixed == 0], first[fixed == 1]
        states = np.asarray(walks[variant]["columns"]["first"] if variant in walks else [math.nan])
        rows.append((variant, len(slow), slow.min(), slow.max(), len(exact), states.min(), states.max()))
    names = ["variant", "slow_points", "first_of_points", "last_of_points", "fixed_points", "first_of_states",
             "last_of_states"]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one panel per variant."""
    table = _table(comparison)
    planes = dynamics.payloads(table[table.quantity == "plane"], "points")
    walks = dynamics.payloads(table[table.quantity == "walks"], "points")
    width = width or (style.COLUMN if len(planes) == 1 else style.TWO_COLUMNS)
    columns = min(len(planes), per_row(width, 1.9))
    classes: set[int] = set()
    with canvas(width, 0.6 + 2.1 * math.ceil(len(planes) / columns)) as figure:
        grid = panels(figure, len(planes), columns, common_x=False, common_y=False)
        for axes, (variant, plane) in zip(grid, planes.items(), strict=True):
            if variant in walks:
                classes |= _walks(axes, walks[variant]["columns"])
            _points(axes, plane["columns"])
            panel_title(axes, words.variant(variant))
            axes.set_xlabel("first component")
            axes.set_ylabel("second component")
            axes.locator_params(nbins=4)
        figure.legend(handles=_handles(comparison, sorted(classes)), loc="outside upper center", ncols=2)
    return figure


def _walks(axes: Axes, columns: dict[str, list[float]]) -> set[int]:
    table = pd.DataFrame(columns)
    for _, own in table.groupby("example"):
        color = CLASS_COLORS[int(own.target.iloc[0]) % len(CLASS_COLORS)]
        axes.plot(own["first"], own.second, color=color, linewidth=0.7, alpha=0.75)
        for at, size in ((0, 2.0), (-1, 4.5)):
            axes.plot(own["first"].iloc[at], own.second.iloc[at], "o", color=color, markersize=size)
    return {int(target) for target in table.target}


def _points(axes: Axes, columns: dict[str, list[float]]) -> None:
    first, second, fixed = (np.asarray(columns[name]) for name in ("first", "second", "fixed"))
    slow = fixed == 0
    axes.plot(
        first[slow], second[slow], "o", color=SLOW, markersize=2.6, alpha=0.8, markeredgewidth=0, zorder=3
    )
    axes.plot(first[~slow], second[~slow], "X", color=FIXED, markersize=5, markeredgecolor="white",
              markeredgewidth=0.5, zorder=4)  # fmt: skip


def _handles(comparison: Comparison, classes: list[int]) -> list[Line2D]:
    labels = comparison.tables.task.get("labels") or []
    handles = [
        Line2D([], [], color=CLASS_COLORS[one % len(CLASS_COLORS)],
               label=style.escape(str(labels[one]) if one < len(labels) else f"class {one}"))
        for one in classes
    ]  # fmt: skip
    points = {"linestyle": "none", "markersize": 4}
    slow = Line2D([], [], color=SLOW, marker="o", label="slow points", **points)  # type: ignore[arg-type]
    fixed = Line2D([], [], color=FIXED, marker="X", label="fixed points", **points)  # type: ignore[arg-type]
    return [*handles, slow, fixed]


def _table(comparison: Comparison) -> pd.DataFrame:
    table = dynamics.measurements(comparison.tables, "plane|walks")
    if not (table.kind == "points").any():
        raise NoData("no finished run has points in the plane of states: it has no tested weights")
    return dynamics.of_one_seed(table[table.kind == "points"])
