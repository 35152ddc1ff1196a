"""Mean ranks over datasets, and which of them differ (Demšar 2006)."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from gatescope.analysis import style
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.drawing import canvas
from gatescope.analysis.statistics import LEVEL_TEXT
from gatescope.analysis.statistics.ranks import ENOUGH_DATASETS, RankComparison

TITLE = "Ranks over datasets"
BAR, GAP = 0.28, 0.5
"""Vertical distance of two bars, and of two labels, in rows."""


def caption(comparison: Comparison) -> str:
    """Describe ranks, bars and tests."""
    across = comparison.across_datasets
    ranks, left_out = across.ranks, ", ".join(across.left_out)
    friedman = f" Friedman's test that all are equal: p = {ranks.p:.2g}." if math.isfinite(ranks.p) else ""
    few = (
        f" With {ranks.datasets} datasets only large differences are found."
        if ranks.datasets < ENOUGH_DATASETS
        else ""
    )
    return (
        f"Mean rank over {ranks.datasets} datasets, each with the mean over seeds of its own metric on the "
        "test split; 1 would be the best on every dataset. A bar joins those whose ranks differ by less than "
        f"the critical difference of {ranks.critical_difference:.2f} (Nemenyi's test, {LEVEL_TEXT} for "
        f"all pairs together).{friedman}{few}" + (f" Without results of all: {left_out}." if left_out else "")
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return the mean ranks of each pair, and the p values of both tests."""
    ranks = comparison.across_datasets.ranks
    pairs = ranks.pairs
    return pd.DataFrame(
        {
            "variant": pairs.a,
            "against": pairs.b,
            "mean_rank": pairs.a.map(ranks.ranks),
            "mean_rank_against": pairs.b.map(ranks.ranks),
            "critical_difference": ranks.critical_difference,
            "p_nemenyi": pairs.nemenyi,
            "p_wilcoxon_holm": pairs.wilcoxon,
            "datasets": ranks.datasets,
        }
    )


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw the axis of ranks, a label for each variant, and a bar for each group without a difference."""
    ranks = comparison.across_datasets.ranks
    count, width = len(ranks.ranks), width or style.COLUMN
    longest = max(len(style.style_of(str(name)).label) for name in ranks.ranks.index)
    # Labels on both sides leave 1.5 inches for the axis, or else all are on the left.
    rows = math.ceil(count / 2) if 2 * 0.062 * (longest + 7) + 1.5 <= width else count
    depth = 1.0 + BAR * len(ranks.groups) + GAP * rows
    with canvas(width, 0.45 + 0.34 * depth) as figure:
        axes = figure.subplots()
        axes.set_xlim(1, count)
        axes.set_ylim(-depth + 0.3, 0.9)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.xaxis.set_major_locator(MultipleLocator(1))
        axes.set_xlabel("mean rank (1 is the best)")
        axes.yaxis.set_visible(False)
        axes.grid(visible=False)
        for side in ("left", "right", "bottom"):
            axes.spines[side].set_visible(False)
        axes.spines["top"].set_visible(True)
        _critical_difference(axes, ranks)
        _groups(axes, ranks)
        _labels(axes, ranks, rows)
    return figure


def _critical_difference(axes: Axes, ranks: RankComparison) -> None:
    """Draw the length of the critical difference below the axis, as far as it fits."""
    end = min(1 + ranks.critical_difference, len(ranks.ranks))
    axes.plot([1, end], [0.35, 0.35], color="#555555", linewidth=0.9, marker="|", markersize=5)
    text = f"critical difference {ranks.critical_difference:.2f}"
    axes.text(1, 0.42, text, ha="left", va="bottom", fontsize=7, color="#555555")


def _groups(axes: Axes, ranks: RankComparison) -> None:
    for place, group in enumerate(ranks.groups):
        height = -0.35 - BAR * place
        ends = [float(ranks.ranks[group[0]]) - 0.04, float(ranks.ranks[group[-1]]) + 0.04]
        axes.plot(ends, [height, height], color="#555555", linewidth=2.6, solid_capstyle="butt")


def _labels(axes: Axes, ranks: RankComparison, rows: int) -> None:
    """Draw a line from each rank to its label: the first `rows` on the left, the others on the right."""
    styles, count = style.styles_of(ranks.ranks.index), len(ranks.ranks)
    top = -0.35 - BAR * len(ranks.groups) - 0.15
    for place, (name, rank) in enumerate(ranks.ranks.items()):
        on_left = place < rows
        height = top - GAP * (place if on_left else count - 1 - place)
        end = 1 - 0.04 * count if on_left else count + 0.04 * count
        own = styles[str(name)]
        axes.plot([rank, rank, end], [0, height, height], color=own.color, linewidth=0.9, clip_on=False)
        # At the label's height, where the marks of equal ranks do not cover each other.
        axes.plot([rank], [height], **own.points | {"markersize": 4.5}, clip_on=False, zorder=3)
        side = "right" if on_left else "left"
        text = f"{own.label} ({rank:.2f})"
        axes.text(end, height, f" {text} ", ha=side, va="center", fontsize=7)
