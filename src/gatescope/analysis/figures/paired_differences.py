"""Differences between each variant and the reference, paired by seed, with mean and interval."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gatescope.analysis import style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.contrasts import Contrast
from gatescope.analysis.figures.drawing import canvas, panel_title, panels, per_row
from gatescope.analysis.figures.summaries import (
    MAX_CONDITIONS,
    evenly_spaced,
    omitted_conditions,
    one_scale,
    readable_name,
)
from gatescope.analysis.statistics import LEVEL_TEXT
from gatescope.analysis.tables import NoData, count_text

TITLE = "Paired differences"
PANELS_PER_ROW = 3


def caption(comparison: Comparison) -> str:
    """Describe the differences and when a marker is filled."""
    contrasts = _contrasts(comparison)
    pairs = count_text((contrast.difference.estimate.n for contrast in contrasts), comparison.unit)
    return (
        f"{readable_name(comparison.primary).capitalize()} of each variant minus that of "
        f"{_reference(comparison)}, over the {pairs} that both have. Small points: {comparison.unit}s; large "
        f"points and bars: mean and {LEVEL_TEXT} interval, simultaneous for all differences (Bonferroni), "
        f"over {comparison.covers}. Filled points: the interval does not contain 0."
        + omitted_conditions(list(dict.fromkeys(contrast.condition for contrast in contrasts)))
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return mean, interval, p value and verdict of each difference."""
    rows = [
        {
            "condition": contrast.condition,
            "variant": contrast.variant,
            "minus": contrast.reference,
            **vars(contrast.difference.estimate),
            "p": contrast.adjusted_p,
            "superiority": contrast.difference.superiority,
            "verdict": contrast.verdict,
        }
        for contrast in _contrasts(comparison)
    ]
    return pd.DataFrame(rows)


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one panel per condition, with one row per variant."""
    contrasts = _contrasts(comparison)
    conditions = evenly_spaced(list(dict.fromkeys(one.condition for one in contrasts)), MAX_CONDITIONS)
    variants = style.order(contrast.variant for contrast in contrasts)
    width = width or (style.COLUMN if len(conditions) == 1 else style.TWO_COLUMNS)
    columns = min(PANELS_PER_ROW, len(conditions), per_row(width, 2.0))
    rows = math.ceil(len(conditions) / columns)
    with canvas(width, 0.5 + rows * (0.35 + 0.24 * len(variants))) as figure:
        # A difference of 0.01 on one dataset may be as large as one of 0.5 on another.
        common = one_scale(_range(contrasts, condition) for condition in conditions)
        grid = panels(figure, len(conditions), columns, common_x=common)
        for axes, condition in zip(grid, conditions, strict=True):
            _panel(axes, [one for one in contrasts if one.condition == condition], variants)
            panel_title(axes, words.condition(condition))
        name = f"{readable_name(comparison.primary)}, minus {_reference(comparison)}"
        figure.supxlabel(name, fontsize=style.RC["axes.labelsize"])
    return figure


def _range(contrasts: list[Contrast], condition: str) -> tuple[float, float]:
    """Return the lowest and the highest value that the panel of a condition shows."""
    own = [one.difference for one in contrasts if one.condition == condition]
    found = [end for one in own for end in (*one.values, one.estimate.low, one.estimate.high)]
    known = [0.0, *(value for value in found if math.isfinite(value))]
    return min(known), max(known)


def _panel(axes: Axes, contrasts: list[Contrast], variants: list[str]) -> None:
    styles = style.styles_of(variants)
    axes.axvline(0, color="#555555", linewidth=0.9, zorder=0)
    for contrast in contrasts:
        height, variant_style = variants.index(contrast.variant), styles[contrast.variant]
        values, estimate = contrast.difference.values, contrast.difference.estimate
        face = variant_style.color if contrast.holds else "white"
        mean = variant_style.points | {"markersize": 5, "fillstyle": "full", "markerfacecolor": face}
        seeds = variant_style.points | {"markersize": 2.5, "alpha": 0.6}
        axes.plot(values, [height + 0.24] * len(values), **seeds)
        axes.plot([estimate.low, estimate.high], [height, height], color=variant_style.color, linewidth=1.2)
        axes.plot([estimate.mean], [height], **mean)
    axes.set_yticks(range(len(variants)), [styles[variant].label for variant in variants])
    axes.set_ylim(len(variants) - 0.5, -0.6)
    axes.grid(axis="y", visible=False)


def _reference(comparison: Comparison) -> str:
    return style.style_of(comparison.reference).label


def _contrasts(comparison: Comparison) -> list[Contrast]:
    contrasts = [contrast for contrast in comparison.contrasts if contrast.difference.estimate.n]
    if not contrasts:
        raise NoData("fewer than two variants have finished runs of the same seed or fold")
    return contrasts
