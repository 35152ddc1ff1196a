"""Norm of a gradient k time steps before the last, at initialisation and at the tested weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gatescope.analysis import style
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.base import Curves
from gatescope.analysis.figures.drawing import (
    band,
    canvas,
    format_log_axis,
    legend,
    panel_title,
    panels,
    per_row,
)
from gatescope.analysis.figures.summaries import condition_text, seed_text
from gatescope.analysis.gradient_flow import (
    ALIVE,
    DEAD,
    EXPLODED,
    KEY,
    ends,
    longest,
    lost_by_variant,
    mean_curve,
    measurements,
)
from gatescope.analysis.tables import NoData

TITLE = "Vanishing curves"
GUIDES = (0.5, 0.8, 0.9, 0.97)
"""Spectral radii ρ of the guide lines: under a linear recurrence ρQ with orthogonal Q the norm is ρ^k."""
FLOOR = 1e-9
"""Lower limit of the vertical axis: smaller gradients have no effect on training."""
CURVES = Curves("lag", "lag (steps)", "norm relative to lag 0", ("time",), log_y=True, floor=FLOOR)


def caption(comparison: Comparison) -> str:
    """Describe the curves, their normalisation and the guide lines."""
    table = _curves(comparison)
    return (
        "Norm of a random unit vector on the last state, propagated backward by the exact Jacobians, "
        f"relative to lag 0, against the lag in time steps{condition_text(table)}. It is of the whole state "
        "(h, and c where there is one) of the top layer, and does not depend on the loss, so that both times "
        f"can be compared. Geometric mean over examples and {seed_text(table)}; bands: 95 % t interval over "
        f"seeds of the logarithms. Dotted: closed form ρ^k. Cut off at {FLOOR:.0e}.{lost_by_variant(table)}"
    )


def numbers(comparison: Comparison) -> pd.DataFrame:
    """Return mean and interval of the norm by time, variant and lag."""
    parts = [
        mean_curve(own[own.status == ALIVE])
        .rename_axis("lag")
        .reset_index()
        .assign(time=time, variant=variant, n=int((own.status == ALIVE).sum()))
        .assign(**{name: int((own.status == name).sum()) for name in (DEAD, EXPLODED)})
        for time, part in ends(_curves(comparison)).items()
        for variant in style.order(part.variant)
        if len(own := part[part.variant == variant])
    ]
    columns = ["time", "variant", "lag", "mean", "low", "high", "n", DEAD, EXPLODED]
    return pd.concat(parts, ignore_index=True)[columns]


def _curves(comparison: Comparison) -> pd.DataFrame:
    """Return the curves under one condition, one row per run and step, with the status of the gradient."""
    table = longest(measurements(comparison.tables, "loss_free_curve"))
    try:
        status = comparison.decay_rates.set_index(KEY).status
    except NoData:
        return table.assign(status=ALIVE)
    known = pd.MultiIndex.from_frame(table[KEY]).map(status.to_dict())
    return table.assign(status=pd.Series(known, index=table.index).fillna(ALIVE))


def draw(comparison: Comparison, width: float | None = None) -> Figure:
    """Draw the curves at initialisation and at the tested weights."""
    table = _curves(comparison)
    width = width or style.TWO_COLUMNS
    columns = per_row(width, 2.0)
    with canvas(width, 3.0 if columns > 1 else 4.8) as figure:
        grid = panels(figure, 2, columns)
        grid[0].set_yscale("log")
        for axes, (title, part) in zip(grid, ends(table).items(), strict=True):
            _panel(axes, part)
            panel_title(axes, title)
            axes.set_xlabel("lag (steps)")
            axes.set_ylabel("norm relative to lag 0")
            axes.label_outer()
        low, _ = grid[0].get_ylim()
        highest = max(np.max(line.get_ydata(), initial=1.0) for axes in grid for line in axes.lines)
        grid[0].set_ylim(max(low, FLOOR), min(3 * highest, 1 / FLOOR))
        for axes in grid:
            format_log_axis(axes.yaxis)
            _guides(axes)
        legend(figure, table.variant)
    return figure


def _panel(axes: Axes, table: pd.DataFrame) -> None:
    for variant, variant_style in style.styles_of(table.variant).items():
        mean = mean_curve(table[(table.variant == variant) & (table.status == ALIVE)])
        axes.plot(
            mean.index, mean["mean"], **variant_style.line, marker=variant_style.marker, markevery=(0.1, 0.25)
        )
        band(axes, mean, variant_style.color)


def _guides(axes: Axes) -> None:
    """Draw the guide lines ρ^k with their labels, within the limits of the axes."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    lag = np.linspace(0, right, 200)
    right_ends: list[float] = []
    for rho in GUIDES:
        # With few lags the slow lines would overlap.
        if any(end < 10 * rho**right and rho**right < 10 * end for end in right_ends):
            continue
        right_ends.append(rho**right)
        axes.plot(lag, rho**lag, color="#888888", linewidth=0.7, linestyle=(0, (1.0, 1.5)), zorder=0)
        at = min(right * 0.97, np.log(bottom * 3) / np.log(rho))
        axes.annotate(
            f"{rho:g}ᵏ", (at, rho**at), fontsize=6.5, color="#555555", ha="right", va="bottom", zorder=4
        )
    axes.set(xlim=(left, right), ylim=(bottom, top))
