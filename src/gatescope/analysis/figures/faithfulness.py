"""Attention on trial: agreement with other measures, permutation, erasure, and the floor between seeds."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gatescope.analysis import study, style
from gatescope.analysis.faithfulness import ERASURE, LN_2, SEEDS, TAU, AttentionEvaluation, evaluations
from gatescope.analysis.figures.drawing import canvas, panel_title, per_row
from gatescope.analysis.figures.summaries import seed_text
from gatescope.analysis.statistics import LEVEL
from gatescope.analysis.tables import Tables

TITLE = "Attention on trial"
CHANCE = {"color": "#555555", "linestyle": "none", "marker": "|", "markersize": 9, "markeredgewidth": 1.2}


def caption(tables: Tables) -> str:
    found = _trials(tables)
    place = f" ({found[0].condition})" if found[0].condition else ""
    variants = {one.variant for one in found}
    table = tables.runs[tables.runs.variant.isin(variants) & (tables.runs.condition == found[0].condition)]
    return (
        f"At the tested weights, on the probe's fixed batch{place}. τ: Kendall's τ_b between weights and "
        "another measure of a token's importance, mean over examples; shaded: one spread of an example's τ "
        "under independence. Permuted: median total variation of the prediction over permutations of the "
        "weights. Comprehensiveness and sufficiency: removing, or keeping alone, the tokens that weigh most, "
        "placed between the model's own limits; 1 is good, the grey bar a random ranking. Between seeds: "
        "Jensen-Shannon divergence of the weights, in nats, at most ln 2. "
        f"Points and lines: mean and {LEVEL:.0%} t interval over {seed_text(table)}."
    )


def numbers(tables: Tables) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "condition": one.condition,
                "quantity": one.quantity,
                "variant": one.variant,
                **vars(one.estimate),
                "chance": one.reference,
            }
            for one in evaluations(tables)
        ]
    )


def draw(tables: Tables, width: float | None = None) -> Figure:
    found = _trials(tables)
    variants = style.order(one.variant for one in found)
    quantities = list(dict.fromkeys(one.quantity for one in found))
    width = width or style.TWO_COLUMNS
    columns = min(len(quantities), per_row(width - 1.0, 1.7))
    rows = math.ceil(len(quantities) / columns)
    with canvas(width, 0.5 + rows * (0.55 + 0.2 * len(variants))) as figure:
        grid = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
        for axes, quantity in zip(grid, quantities, strict=False):
            _panel(axes, [one for one in found if one.quantity == quantity], variants)
            panel_title(axes, quantity)
        for axes in grid[len(quantities) :]:
            axes.remove()
        line = Line2D([], [], label="a random ranking", **CHANCE)  # type: ignore[arg-type]
        if any(one.quantity in ERASURE.values() for one in found):
            figure.legend(handles=[line], loc="outside upper right")
    return figure


def _panel(axes: Axes, found: list[AttentionEvaluation], variants: list[str]) -> None:
    styles = style.styles_of(variants)
    for one in found:
        variant_style, height, estimate = styles[one.variant], variants.index(one.variant), one.estimate
        if one.quantity in TAU.values():
            axes.fill_betweenx([height - 0.5, height + 0.5], -one.reference, one.reference, color="#ececec")
        if one.quantity in ERASURE.values():
            axes.plot([one.reference], [height], **CHANCE)  # type: ignore[arg-type]
        axes.plot([estimate.low, estimate.high], [height, height], color=variant_style.color, linewidth=1.2)
        axes.plot([estimate.mean], [height], **variant_style.points | {"markersize": 4.5}, clip_on=False)
    axes.set_yticks(range(len(variants)), [styles[variant].label for variant in variants])
    axes.set_ylim(len(variants) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    limits = {name: (-1.0, 1.0) for name in TAU.values()} | {name: (0.0, 1.0) for name in ERASURE.values()}
    quantity = found[0].quantity
    if quantity in limits:
        axes.set_xlim(*limits[quantity])
    elif quantity == SEEDS:
        axes.set_xlim(0, LN_2)
    else:
        axes.set_xlim(left=0)


def _trials(tables: Tables) -> list[AttentionEvaluation]:
    """The last condition's, as the figure of attention has it."""
    found = evaluations(tables)
    last = study.conditions(pd.DataFrame({"condition": [one.condition for one in found]}))[-1]
    return [one for one in found if one.condition == last]
