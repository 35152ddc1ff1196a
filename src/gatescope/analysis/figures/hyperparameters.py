"""How much each tuned key mattered for the score on validation, by variant."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gatescope.analysis import study, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.drawing import canvas, legend, panel_title, panels, per_row
from gatescope.analysis.importance import importances
from gatescope.analysis.selection import validated_metric
from gatescope.analysis.tables import count_text

TITLE = "Importance of the tuned settings"
SPREAD = 0.12
"""Vertical distance between the points of two variants at one key."""


def caption(comparison: Comparison) -> str:
    """Describe the shares and what they were computed from."""
    table = numbers(comparison)
    metric = words.metric(validated_metric(comparison.recorded))
    return (
        f"Share of the variance of {metric} over the search space that each key explains, without regard to "
        "the other keys or together with them (functional analysis of variance by a random forest, Hutter et "
        f"al. 2014), from {count_text(table.trials, 'trial')} per variant. The shares of a variant sum to 1."
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return one row for each condition, variant and key."""
    return importances(comparison.recorded)


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one panel per condition, with a row per key and a point per variant."""
    table = numbers(comparison)
    conditions = study.conditions(table)
    width = width or (style.COLUMN if len(conditions) == 1 else style.TWO_COLUMNS)
    columns = min(len(conditions), per_row(width, 2.2))
    keys = list(dict.fromkeys(table.key))
    rows = math.ceil(len(conditions) / columns)
    with canvas(width, 0.7 + rows * (0.4 + 0.35 * len(keys))) as figure:
        for axes, condition in zip(panels(figure, len(conditions), columns), conditions, strict=True):
            _panel(axes, table[table.condition == condition], keys)
            panel_title(axes, words.condition(condition))
        figure.supxlabel("share of the variance", fontsize=style.RC["axes.labelsize"])
        legend(figure, table.variant)
    return figure


def _panel(axes: Axes, table: pd.DataFrame, keys: list[str]) -> None:
    styles = style.styles_of(table.variant)
    for place, (variant, own_style) in enumerate(styles.items()):
        own = table[table.variant == variant]
        shift = SPREAD * (place - (len(styles) - 1) / 2)
        rows = [keys.index(key) + shift for key in own.key]
        axes.plot(own.importance, rows, **own_style.points)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(len(keys) - 0.5, -0.5)
    axes.set_yticks(range(len(keys)), [words.key(key) for key in keys])
