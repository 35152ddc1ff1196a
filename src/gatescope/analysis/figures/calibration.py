"""Calibration of the predicted probabilities: accuracy against confidence, with all seeds pooled."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gatescope.analysis import errors, study, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.drawing import canvas, legend, panel_title, panels, per_row
from gatescope.analysis.tables import NoData

TITLE = "Calibration"
MIN_EXAMPLES = 10
"""Least number of examples in a bin that is drawn: the accuracy of fewer is unreliable."""


def caption(comparison: Comparison) -> str:
    """Describe the bins and the runs that they contain."""
    groups = _groups(comparison)
    return (
        "Accuracy of the predictions in a bin of confidence, the probability of the predicted class. On the "
        "dotted line confidence equals accuracy; below it the model is overconfident. "
        f"{errors.BINS} bins of equal width; those with fewer than {MIN_EXAMPLES} examples are not drawn. "
        f"Runs of {errors.seed_text(groups)} are pooled."
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return one row per bin that contains examples."""
    return _table(comparison)


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one reliability diagram per condition."""
    table = _table(comparison)
    conditions = study.conditions(table)
    width = width or (style.COLUMN if len(conditions) == 1 else style.TWO_COLUMNS)
    columns = min(len(conditions), per_row(width, 1.8))
    rows = math.ceil(len(conditions) / columns)
    with canvas(width, 0.7 + rows * min(2.6, 0.95 * width / columns)) as figure:
        for axes, condition in zip(panels(figure, len(conditions), columns), conditions, strict=True):
            _panel(axes, table[table.condition == condition])
            panel_title(axes, words.condition(condition))
        figure.supxlabel("confidence", fontsize=style.RC["axes.labelsize"])
        figure.supylabel("accuracy", fontsize=style.RC["axes.labelsize"])
        ideal = Line2D([], [], color="#777777", linestyle=":", label="confidence = accuracy")
        legend(figure, table.variant, extra=[ideal])
    return figure


def _panel(axes: Axes, table: pd.DataFrame) -> None:
    axes.plot([0, 1], [0, 1], color="#777777", linestyle=":", linewidth=1)
    for variant, variant_style in style.styles_of(table.variant).items():
        own = table[(table.variant == variant) & (table.n >= MIN_EXAMPLES)]
        axes.plot(own.confidence, own.accuracy, **(variant_style.points | variant_style.line), clip_on=False)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def _table(comparison: Comparison) -> pd.DataFrame:
    """Return variant, condition, low, high, n, confidence and accuracy of each bin that is not empty."""
    parts = [errors.calibration(group.pooled).assign(**group.key) for group in _groups(comparison)]
    table = pd.concat(parts, ignore_index=True)
    return table.loc[table.n > 0, ["variant", "condition", *errors.CALIBRATION]].reset_index(drop=True)


def _groups(comparison: Comparison) -> list[errors.Group]:
    groups = errors.groups(comparison.tables, classified=True)
    if not groups:
        raise NoData("no finished run has recorded predictions of classes")
    return groups
