"""Each variant minus the reference, seed by seed: the differences, their mean and its interval."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gatescope.analysis import study, style
from gatescope.analysis.comparison import reference_contrasts
from gatescope.analysis.contrasts import Contrast
from gatescope.analysis.figures.base import NoData
from gatescope.analysis.figures.drawing import canvas, panel_title, panels, per_row
from gatescope.analysis.figures.summaries import (
    MAX_CONDITIONS,
    evenly_spaced,
    omitted_conditions,
    readable_name,
)
from gatescope.analysis.statistics import LEVEL, SUPERIORITY_THRESHOLD
from gatescope.analysis.tables import Tables

TITLE = "Paired differences"
MOST_COLUMNS = 3


def caption(tables: Tables) -> str:
    n = [one.difference.estimate.n for one in _compared(tables)]
    pairs = f"{n[0]} seeds" if len(set(n)) == 1 else f"{min(n)} to {max(n)} seeds"
    return (
        f"{readable_name(study.primary(tables)).capitalize()} of each variant minus that of "
        f"{_reference(tables)}, over the {pairs} that both have. Small points: seeds; "
        f"large points and bars: mean and {LEVEL:.0%} t interval, not adjusted. Filled: the difference holds "
        f"(p < {1 - LEVEL:.2f} after Holm, P(A > B) past {SUPERIORITY_THRESHOLD}, enough seeds)."
        + omitted_conditions(list(dict.fromkeys(one.condition for one in _compared(tables))))
    )


def numbers(tables: Tables) -> pd.DataFrame:
    rows = [
        {
            "condition": one.condition,
            "variant": one.variant,
            "minus": one.reference,
            **vars(one.difference.estimate),
            "p_holm": one.adjusted_p,
            "superiority": one.difference.superiority,
            "verdict": one.verdict,
        }
        for one in _compared(tables)
    ]
    return pd.DataFrame(rows)


def draw(tables: Tables, width: float | None = None) -> Figure:
    compared = _compared(tables)
    places = evenly_spaced(list(dict.fromkeys(one.condition for one in compared)), MAX_CONDITIONS)
    variants = style.order(one.variant for one in compared)
    width = width or (style.COLUMN if len(places) == 1 else style.TWO_COLUMNS)
    columns = min(MOST_COLUMNS, len(places), per_row(width, 2.0))
    rows = math.ceil(len(places) / columns)
    with canvas(width, 0.5 + rows * (0.35 + 0.24 * len(variants))) as figure:
        # A difference of 0.01 on one dataset is as much as one of 0.5 on another.
        grid = panels(figure, len(places), columns, common_x=False)
        for axes, place in zip(grid, places, strict=True):
            _panel(axes, [one for one in compared if one.condition == place], variants)
            panel_title(axes, place)
        name = f"{readable_name(study.primary(tables))}, minus {_reference(tables)}"
        figure.supxlabel(name, fontsize=style.RC["axes.labelsize"])
    return figure


def _panel(axes: Axes, compared: list[Contrast], variants: list[str]) -> None:
    styles = style.styles_of(variants)
    axes.axvline(0, color="#555555", linewidth=0.9, zorder=0)
    for one in compared:
        height, variant_style, estimate = (
            variants.index(one.variant),
            styles[one.variant],
            one.difference.estimate,
        )
        inside = {"fillstyle": "full", "markerfacecolor": variant_style.color if one.holds else "white"}
        mean = variant_style.points | {"markersize": 5} | inside
        seeds = variant_style.points | {"markersize": 2.5, "alpha": 0.6}
        axes.plot(one.difference.values, [height + 0.24] * len(one.difference.values), **seeds)
        axes.plot([estimate.low, estimate.high], [height, height], color=variant_style.color, linewidth=1.2)
        axes.plot([estimate.mean], [height], **mean)
    axes.set_yticks(range(len(variants)), [styles[variant].label for variant in variants])
    axes.set_ylim(len(variants) - 0.5, -0.6)
    axes.grid(axis="y", visible=False)


def _reference(tables: Tables) -> str:
    return style.style_of(study.reference(study.contenders(tables))).label


def _compared(tables: Tables) -> list[Contrast]:
    found = [one for one in reference_contrasts(tables) if one.difference.estimate.n]
    if not found:
        raise NoData("fewer than two variants have finished runs of the same seed")
    return found
