"""Norms of the training gradients before clipping: all parameters, and the recurrent weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gatescope.analysis import study, style
from gatescope.analysis.figures.base import (
    NoData,
    band,
    canvas,
    legend,
    mean_over_seeds,
    panel_title,
    plain_log,
    seeds,
    spread,
)
from gatescope.analysis.runs import Tables

TITLE = "Gradient norms over training"
MOST_ROWS = 3
CLIP: Any = {"color": "#555555", "linewidth": 0.9, "linestyle": (0, (1.0, 1.5))}


def caption(tables: Tables) -> str:
    total, _ = _norms(tables)
    line = " Dotted: the norm at which training clips." if _thresholds(tables) else ""
    return (
        f"Euclidean norm of the gradient before clipping, geometric mean over {seeds(total)} with its 95 % "
        "t interval on logarithms; on the right the recurrent weights of all layers together. "
        f"Unit: loss per unit of parameter; the vertical axis is logarithmic.{line}"
    )


def draw(tables: Tables) -> Figure:
    total, recurrent = _norms(tables)
    parts = {"all parameters": total, "recurrent weights": recurrent}
    places = spread(study.conditions(total), MOST_ROWS)
    with canvas(style.TWO_COLUMNS, 0.75 + 1.75 * len(places)) as figure:
        grid = figure.subplots(len(places), 2, sharex=True, sharey=True, squeeze=False)
        for row, place in zip(grid, places, strict=True):
            for axes, (title, table) in zip(row, parts.items(), strict=True):
                _panel(axes, table[table.condition == place])
                panel_title(axes, ", ".join(filter(None, [title, place])))
            for threshold in _thresholds(tables):
                row[0].axhline(threshold, **CLIP)
            row[0].set_ylabel("gradient norm")
        for axes in grid[-1]:
            axes.set_xlabel("step")
        clip = [Line2D([], [], **CLIP, label="clipping threshold")] if _thresholds(tables) else []
        legend(figure, total.variant, markers=False, extra=clip)
    return figure


def _panel(axes: Axes, table: pd.DataFrame) -> None:
    axes.set_yscale("log")
    for variant, look in style.looks(table.variant).items():
        mean = mean_over_seeds(table[table.variant == variant], "step", geometric=True)
        axes.plot(mean.index, mean["mean"], **look.line)
        band(axes, mean, look.color)
    plain_log(axes.yaxis)


def _norms(tables: Tables) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Norms over all parameters and over the recurrent weights, a row a run and step after step 0."""
    total = tables.reading("gradient_norm/before_clip").dropna(subset=["value"])
    total = total[total.step > 0]
    if total.step.nunique() < 2:
        raise NoData(
            "no finished run has readings of gradient norms at two steps (instruments=off, or too short)"
        )
    parts = tables.reading(r"gradient_norm/[^/]+/recurrent_weights/.*").dropna(subset=["value"])
    by = ["run_id", "variant", "condition", "seed", "step"]
    squares = parts.assign(value=parts.value**2).groupby(by, as_index=False).value.sum()
    return total, squares.assign(value=np.sqrt(squares.value))


def _thresholds(tables: Tables) -> list[float]:
    trainers = [tables.configs.get(run_id, {}).get("trainer") or {} for run_id in tables.runs.run_id]
    norms = [
        t.get("gradient_clip_val") for t in trainers if t.get("gradient_clip_algorithm", "norm") == "norm"
    ]
    return sorted({float(norm) for norm in norms if norm})
