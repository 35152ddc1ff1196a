"""The share of seeds that solve the task against the reach of the gradient before training."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gatescope.analysis import style
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.drawing import canvas, format_log_axis, legend
from gatescope.analysis.outcomes import solved_share

TITLE = "Reach before training and what is learnt"
DODGE = 1.06
"""Factor between the places of two variants of the same relative reach."""


def caption(comparison: Comparison) -> str:
    """Describe the points, the line and the runs that are left out."""
    found = comparison.horizon
    lost = f" {found.lost} runs without a reach are left out." if found.lost else ""
    return (
        "A point is an architecture at one lag: the median reach of its gradient before training, divided by "
        "the lag, and the share of its seeds that solve the task; bars: 95 % interval of that share "
        "(Clopper–Pearson). Dashed: reach = lag. Grey: logistic model of all runs. If the reach before "
        "training decided, points would be at 0 on the left of the dashed line and at 1 on its right. "
        f"Variants are drawn side by side.{lost}"
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return the reach before training and the share of solved seeds by variant and lag."""
    rows = []
    for (variant, lag), own in comparison.horizon.runs.groupby(["variant", "lag"], sort=False):
        share = solved_share(own.solved.astype(float), 0.5)
        rows.append(
            {"variant": variant, "lag": lag, "reach": own.reach.median()}
            | {"relative_reach": float(np.exp(own.relative_reach.median()))}
            | {"share": share.solved / share.seeds, "low": share.low, "high": share.high, "n": share.seeds}
        )
    return pd.DataFrame(rows)


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw the points and the logistic model."""
    points, width = numbers(comparison), width or style.COLUMN
    with canvas(width, 2.8) as figure:
        axes = figure.subplots()
        axes.set_xscale("log")
        for place, (variant, look) in enumerate(style.styles_of(points.variant).items()):
            own = points[points.variant == variant]
            shifted = own.relative_reach * DODGE ** (place - (points.variant.nunique() - 1) / 2)
            bars = np.abs(own[["low", "high"]].to_numpy().T - own.share.to_numpy())
            axes.errorbar(
                shifted, own.share, yerr=bars, **look.points, markersize=4.5, elinewidth=0.7, zorder=5,
            )  # fmt: skip
        x = np.geomspace(points.relative_reach.min() / 1.3, max(points.relative_reach.max(), 1.0) * 1.3, 200)
        axes.plot(x, comparison.horizon.probability(np.log(x)), color="#888888", linewidth=1.2, zorder=3)
        axes.axvline(1.0, color="#888888", linewidth=0.8, linestyle=(0, (4.0, 2.0)), zorder=2)
        axes.set_xlabel("reach before training / lag")
        axes.set_ylabel("share of seeds that solve the task")
        axes.set_ylim(-0.05, 1.05)
        format_log_axis(axes.xaxis)
        legend(figure, points.variant, lines=False)
    return figure
