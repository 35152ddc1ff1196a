"""Norms of the training gradients before clipping, and the share of steps that were clipped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from gatescope.analysis import study, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.base import Curves
from gatescope.analysis.figures.drawing import (
    band,
    canvas,
    format_log_axis,
    frame,
    legend,
    panel_title,
    per_row,
)
from gatescope.analysis.figures.summaries import evenly_spaced, mean_over_seeds, seed_text
from gatescope.analysis.gradient_flow import ALIVE, DEAD, EXPLODED, lost_by_variant, over_seeds
from gatescope.analysis.tables import NoData

TITLE = "Gradient norms over training"
MAX_ROWS = 3
ALL, CLIPPED = "all parameters", "share of steps clipped"
CURVES = Curves("step", "step", "norm, or share", ("quantity", "condition"), log_y=True)
CLIP: Any = {"color": "#555555", "linewidth": 0.9, "linestyle": (0, (1.0, 1.5))}


def caption(comparison: Comparison) -> str:
    """Describe the norms, their unit and the share of clipped steps."""
    total = _norms(comparison)
    line = " Dotted: clipping threshold." if _thresholds(comparison) else ""
    share = ""
    if len(_clipped(comparison)):
        share = f" {CLIPPED.capitalize()}: since the previous measurement, with mean and 95 % t interval."
    return (
        "Euclidean norm of the gradient before clipping, of all parameters and of the recurrent weights of "
        f"all layers. Geometric mean over {seed_text(total)}, with the 95 % t interval of the logarithms. "
        "Unit: loss per unit of a parameter; the vertical axis is "
        f"logarithmic.{line}{share}{_lost_seeds(comparison)}"
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return mean and interval of each quantity by condition, variant and step."""
    parts = [
        _means(own, name).reset_index().assign(quantity=name, condition=condition, variant=variant)
        for name, part in _parts(comparison)
        for condition in study.conditions(part)
        for variant in style.order(part.variant)
        if len(own := part[(part.condition == condition) & (part.variant == variant)])
    ]
    columns = ["quantity", "condition", "variant", "step", "mean", "low", "high", "n", DEAD, EXPLODED]
    return pd.concat(parts, ignore_index=True)[columns]


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw the norms and the share of clipped steps, one row per condition."""
    parts = _parts(comparison)
    width = width or style.TWO_COLUMNS
    columns = len(parts) if per_row(width) >= len(parts) else 1
    conditions = evenly_spaced(study.conditions(parts[0][1]), MAX_ROWS if columns > 1 else 1)
    shown = [
        (condition, name, part[part.condition == condition])
        for condition in conditions
        for name, part in parts
    ]
    with canvas(width, 0.75 + 1.6 * len(shown) / columns) as figure:
        grid = list(figure.subplots(len(shown) // columns, columns, sharex=True, squeeze=False).flat)
        norms = [axes for axes, (_, name, _) in zip(grid, shown, strict=True) if name != CLIPPED]
        for axes, (condition, name, part) in zip(grid, shown, strict=True):
            _panel(axes, part, name)
            panel_title(axes, ", ".join(filter(None, [name, words.condition(condition)])))
            axes.set_ylabel("share" if name == CLIPPED else "norm")
            if axes in norms[1:]:
                axes.sharey(norms[0])
            if name == ALL:
                for threshold in _thresholds(comparison):
                    axes.axhline(threshold, **CLIP)
        frame(norms)
        for axes in norms:
            axes.tick_params(labelleft=True)
            format_log_axis(axes.yaxis)
        for axes in grid[-columns:]:
            axes.set_xlabel("step")
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        clip = [Line2D([], [], **CLIP, label="clipping threshold")] if _thresholds(comparison) else []
        legend(figure, parts[0][1].variant, markers=False, extra=clip)
    return figure


def _panel(axes: Axes, table: pd.DataFrame, name: str) -> None:
    if name == CLIPPED:
        axes.set_ylim(0, 1)
    else:
        axes.set_yscale("log")
    for variant, variant_style in style.styles_of(table.variant).items():
        mean = _means(table[table.variant == variant], name)
        axes.plot(mean.index, mean["mean"], **variant_style.line)
        band(axes, mean, variant_style.color)


def _means(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return mean and interval over seeds by step: geometric for norms, within 0 and 1 for the share."""
    if name != CLIPPED:
        return over_seeds(table, "step", geometric=True)
    return mean_over_seeds(table, "step", scale="proportion").assign(**{DEAD: 0, EXPLODED: 0})


def _parts(comparison: Comparison) -> list[tuple[str, pd.DataFrame]]:
    """Return the quantities that are shown, by name: one row per run and step after step 0.

    The share of clipped steps is included for runs that clip.
    """
    total = _norms(comparison)
    weights = comparison.tables.measurement(r"gradient_norm/[^/]+/recurrent_weights/.*")
    by = ["run_id", "variant", "condition", "seed", "unit", "overlap", "step"]
    # The sum of pandas ignores NaN, and a norm that is not finite must remain so.
    squares = weights.assign(value=weights.value.fillna(np.inf) ** 2).groupby(by, as_index=False).value.sum()
    parts = [(ALL, total), ("recurrent weights", _with_status(squares.assign(value=np.sqrt(squares.value))))]
    parts.append((CLIPPED, _clipped(comparison)))
    return [(name, part) for name, part in parts if len(part)]


def _norms(comparison: Comparison) -> pd.DataFrame:
    total = _with_status(comparison.tables.measurement("gradient_norm/before_clip"))
    total = total[total.step > 0]
    if total[total.status == ALIVE].step.nunique() < 2:
        raise NoData(
            "no finished run has measurements of gradient norms at two steps (instruments=off, or too short)"
        )
    return total


def _with_status(norms: pd.DataFrame) -> pd.DataFrame:
    """Add the status of each norm: exploded if it is not finite, dead if it is 0."""
    status = np.where(~np.isfinite(norms.value), EXPLODED, np.where(norms.value == 0, DEAD, ALIVE))
    return norms.assign(status=status)


def _lost_seeds(comparison: Comparison) -> str:
    """Return the sentences of the caption on seeds that no mean contains: last norm 0 or not finite."""
    texts = {name: lost_by_variant(part) for name, part in _parts(comparison) if name != CLIPPED}
    return "".join(f" For {name}:{text}" for name, text in texts.items() if text)


def _clipped(comparison: Comparison) -> pd.DataFrame:
    table = comparison.tables.measurement("gradient_norm/clipped_share").dropna(subset=["value"])
    table = table.assign(status=ALIVE)
    return table[table.step > 0] if _thresholds(comparison) else table.iloc[:0]


def _thresholds(comparison: Comparison) -> list[float]:
    trainers = [
        comparison.tables.configs.get(run_id, {}).get("trainer") or {}
        for run_id in comparison.tables.runs.run_id
    ]
    norms = [
        trainer.get("gradient_clip_val")
        for trainer in trainers
        if trainer.get("gradient_clip_algorithm", "norm") == "norm"
    ]
    return sorted({float(norm) for norm in norms if norm})
