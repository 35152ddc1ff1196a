"""The expected best score on validation against the number of settings that were tried."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gatescope.analysis import study, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.base import Curves
from gatescope.analysis.figures.drawing import band, canvas, frame, legend, panel_title, panels, per_row
from gatescope.analysis.figures.summaries import (
    MAX_CONDITIONS,
    evenly_spaced,
    omitted_conditions,
    readable_name,
)
from gatescope.analysis.intervals import scale_of
from gatescope.analysis.statistics import LEVEL_TEXT
from gatescope.analysis.tables import count_text
from gatescope.analysis.trials import expected_best_scores, validation_metric

TITLE = "Expected best setting"
CURVES = Curves("trials", "settings tried", "", ("condition", "quantity"))


def caption(comparison: Comparison) -> str:
    """Describe the expectation and what it is taken over."""
    table = numbers(comparison)
    metric = readable_name(validation_metric(comparison.recorded))
    last = table.groupby(["condition", "variant"]).trials.max()
    has_interval = bool(table.low.notna().any())
    over = (
        f"Lines and bands: mean and {LEVEL_TEXT} interval over {count_text(table.n, comparison.unit)}."
        if has_interval
        else "There is no interval: no setting was run with several seeds, or all seeds agree."
    )
    return (
        f"Expected best {metric} if the best of k settings is taken, by the number k; each variant has "
        f"{count_text(last, 'setting')}. It is the mean over all sets of k of them (Dodge et al. 2019; "
        f"Tang et al. 2020). The test split plays no part. {over}"
        + omitted_conditions(study.conditions(table))
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return the expected best score by condition, variant and number of trials."""
    table = expected_best_scores(comparison.recorded)
    return table.assign(quantity=readable_name(validation_metric(comparison.recorded)))


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one panel per condition, with one curve per variant."""
    table = numbers(comparison)
    conditions = evenly_spaced(study.conditions(table), MAX_CONDITIONS)
    width = width or (style.COLUMN if len(conditions) == 1 else style.TWO_COLUMNS)
    columns = min(len(conditions), per_row(width, 2.0))
    styles, metric = style.styles_of(table.variant), validation_metric(comparison.recorded)
    with canvas(width, 0.5 + 1.7 * math.ceil(len(conditions) / columns)) as figure:
        grid = panels(figure, len(conditions), columns, common_y=False)
        for place, (axes, condition) in enumerate(zip(grid, conditions, strict=True)):
            for variant, part in table[table.condition == condition].groupby("variant"):
                own, curve = styles[str(variant)], part.set_index("trials")
                band(axes, curve, own.color)
                axes.plot(curve.index, curve["mean"], **own.points | own.line, markevery=[0, -1])
            frame([axes], scale_of(metric))
            panel_title(axes, words.condition(condition))
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.set_xlabel("settings tried")
            if place % columns == 0:
                axes.set_ylabel(readable_name(metric))
        legend(figure, table.variant)
    return figure
