"""Effects of words on the slow modes against their weights in a logistic regression."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gatescope.analysis import dynamics, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.drawing import canvas, panel_title, panels, per_row
from gatescope.analysis.figures.summaries import condition_text
from gatescope.analysis.tables import NoData

TITLE = "Effects of words"
NAMED = 3
"""Words named at each end."""


def caption(comparison: Comparison) -> str:
    """Describe the axes and the words."""
    table = _table(comparison)
    return (
        "Each point is a word of the train texts: first-order effect on the logit of the last class "
        "half a text "
        "later, at the slow points of the network, against the word's weight in a logistic regression "
        "on counts of "
        f"words{condition_text(table)}. Tested weights, seed {table.seed.iloc[0]}; effects are divided "
        f"by their "
        "standard deviation. The words with the largest weights, and the most frequent ones."
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return the correlations of effects and weights over all drawn words, by variant."""
    rows = []
    for variant, payload in dynamics.payloads(_table(comparison), "heatmap").items():
        slow, later, weight = _columns(payload)
        pairs = (np.corrcoef(values, weight)[0, 1] for values in (slow, later))
        rows.append((variant, len(weight), *pairs))
    return pd.DataFrame(rows, columns=["variant", "words", "correlation_slow_modes", "correlation_later"])


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw one panel per variant."""
    payloads = dynamics.payloads(_table(comparison), "heatmap")
    styles = style.styles_of(payloads)
    width = width or (style.COLUMN if len(payloads) == 1 else style.TWO_COLUMNS)
    columns = min(len(payloads), per_row(width, 1.9))
    with canvas(width, 0.3 + 2.1 * math.ceil(len(payloads) / columns)) as figure:
        grid = panels(figure, len(payloads), columns)
        for axes, (variant, payload) in zip(grid, payloads.items(), strict=True):
            _panel(axes, payload, styles[variant])
            panel_title(axes, words.variant(variant))
            axes.set_xlabel("weight (logistic regression)")
            axes.set_ylabel("effect (standard deviations)")
            axes.label_outer()
            axes.margins(x=0.2, y=0.12)
    return figure


def _panel(axes: Axes, payload: dict[str, Any], variant_style: style.VariantStyle) -> None:
    _, effect, weight = _columns(payload)
    effect = effect / (effect.std() or 1.0)
    points = variant_style.points | {"markersize": 2.4, "alpha": 0.6, "markeredgewidth": 0}
    axes.axhline(0, color="#bbbbbb", linewidth=0.6)
    axes.axvline(0, color="#bbbbbb", linewidth=0.6)
    axes.plot(weight, effect, **points)
    order = np.argsort(weight)
    for at in {*order[:NAMED], *order[-NAMED:]}:
        side = "left" if weight[at] < 0 else "right"
        name = style.escape(payload["y"][at])
        axes.text(weight[at], effect[at], name, ha=side, va="bottom", fontsize=6.5)


def _columns(payload: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the effects on the slow modes, the effects half a text later, and the weights."""
    values, names = np.asarray(payload["values"], dtype=float), payload["x"]
    slow, later, weight = (values[:, names.index(name)] for name in ("effect", "later", "weight"))
    return slow, later, weight


def _table(comparison: Comparison) -> pd.DataFrame:
    table = dynamics.measurements(comparison.tables, "word_effects")
    table = table[table.kind == "heatmap"]
    if table.empty:
        raise NoData("no finished run has effects of words")
    return dynamics.of_one_seed(table)
