"""Faithfulness of attention: agreement with other measures, permutation, erasure, spread over seeds."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gatescope.analysis import study, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.faithfulness import ERASURE, LN_2, SEEDS, TAU, AttentionEvaluation
from gatescope.analysis.figures.drawing import canvas, panel_title, per_row
from gatescope.analysis.figures.summaries import seed_text
from gatescope.analysis.statistics import LEVEL_TEXT

TITLE = "Faithfulness of attention"
CHANCE = {"color": "#555555", "linestyle": "none", "marker": "|", "markersize": 9, "markeredgewidth": 1.2}


def caption(comparison: Comparison) -> str:
    """Describe the quantities and their reference values."""
    rows = _last_condition(comparison)
    condition = rows[0].condition
    variants = {row.variant for row in rows}
    table = comparison.tables.runs[
        comparison.tables.runs.variant.isin(variants) & (comparison.tables.runs.condition == condition)
    ]
    tau = {row.variant for row in rows if row.quantity in TAU.values() and math.isfinite(row.estimate.mean)}
    untold = " Equal weights rank nothing: they have no τ." if len(variants) > len(tau) > 0 else ""
    place = f" ({words.condition(condition)})" if condition else ""
    return (
        f"At the tested weights, on the fixed batch of the probe{place}. τ: "
        "Kendall's τ_b between attention weights and another measure of the importance of a token, mean over "
        "examples; shaded: where it is in 95 % of permutations of the weights within examples. Permuted: "
        "median total variation of the prediction over permutations of the weights. Comprehensiveness and "
        "sufficiency: effect of removing, or of keeping only, the tokens with the largest weights, between "
        "the limits of the model; 1 is best, the grey bar is a random ranking. Between seeds: Jensen-Shannon "
        f"divergence of the weights, in nats, at most ln 2. Points and lines: mean and {LEVEL_TEXT} "
        f"interval over {seed_text(table)}, for τ also over examples.{untold}"
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return mean, interval and reference value of each quantity by condition and variant."""
    return pd.DataFrame(
        [
            {
                "condition": row.condition,
                "quantity": row.quantity,
                "variant": row.variant,
                **vars(row.estimate),
                "chance": row.reference,
            }
            for row in comparison.attention
        ]
    )


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one panel per quantity, with one row per variant."""
    evaluated = _last_condition(comparison)
    variants = style.order(row.variant for row in evaluated)
    quantities = list(dict.fromkeys(row.quantity for row in evaluated))
    width = width or style.TWO_COLUMNS
    columns = min(len(quantities), per_row(width - 1.0, 1.7))
    rows = math.ceil(len(quantities) / columns)
    with canvas(width, 0.5 + rows * (0.55 + 0.2 * len(variants))) as figure:
        grid = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
        limits = _limits(evaluated)
        for axes, quantity in zip(grid, quantities, strict=False):
            _panel(axes, [row for row in evaluated if row.quantity == quantity], variants)
            axes.set_xlim(*limits.get(quantity, (0.0, None)))
            panel_title(axes, quantity)
        for axes in grid[len(quantities) :]:
            axes.remove()
        line = Line2D([], [], label="random ranking", **CHANCE)  # type: ignore[arg-type]
        if any(row.quantity in ERASURE.values() for row in evaluated):
            figure.legend(handles=[line], loc="outside upper right")
    return figure


def _limits(rows: list[AttentionEvaluation]) -> dict[str, tuple[float, float]]:
    """Return the horizontal limits of quantities: all τ have the same, which end near their values."""
    tau = [row for row in rows if row.quantity in TAU.values()]
    ends = [value for row in tau for value in (row.estimate.low, row.estimate.high, row.estimate.mean)]
    ends += [sign * 1.96 * row.reference for row in tau for sign in (-1, 1)]
    known = [0.0, *(value for value in ends if math.isfinite(value))]
    margin = 0.08 * (max(known) - min(known))
    span = (max(-1.0, min(known) - margin), min(1.0, max(known) + margin))
    fixed = {name: (0.0, 1.0) for name in ERASURE.values()} | {SEEDS: (0.0, LN_2)}
    return {name: span for name in TAU.values() if tau and span[0] < span[1]} | fixed


def _panel(axes: Axes, rows: list[AttentionEvaluation], variants: list[str]) -> None:
    styles = style.styles_of(variants)
    for row in rows:
        variant_style, height, estimate = styles[row.variant], variants.index(row.variant), row.estimate
        if row.quantity in TAU.values():
            spread = 1.96 * row.reference
            axes.fill_betweenx([height - 0.5, height + 0.5], -spread, spread, color="#ececec")
        if row.quantity in ERASURE.values():
            axes.plot([row.reference], [height], **CHANCE)  # type: ignore[arg-type]
        axes.plot([estimate.low, estimate.high], [height, height], color=variant_style.color, linewidth=1.2)
        axes.plot([estimate.mean], [height], **variant_style.points | {"markersize": 4.5}, clip_on=False)
    axes.set_yticks(range(len(variants)), [styles[variant].label for variant in variants])
    axes.set_ylim(len(variants) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def _last_condition(comparison: Comparison) -> list[AttentionEvaluation]:
    """Return the evaluations under the last condition, which the figure of attention shows too."""
    rows = comparison.attention
    last = study.conditions(pd.DataFrame({"condition": [row.condition for row in rows]}))[-1]
    return [row for row in rows if row.condition == last]
