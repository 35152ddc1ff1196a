"""Curves with a cursor and switches for variants, as Vega-Lite; the page contains Vega itself."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from gatescope.analysis import style, words
from gatescope.analysis.figures.base import Curves

MAX_POINTS = 60
"""Points of a curve; of more, this many are kept, evenly spaced, the first and the last included."""
MAX_MARKED_POINTS = 15
"""Points of a curve up to which each is marked."""
MAX_PANELS = 6
PLAIN = "datum.label ? format(datum.value, '.6~g') : ''"
"""Format of tick labels: 100, not 1e+2."""


@cache
def library() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script that needs no network."""
    import vl_convert

    bundle: Any = vl_convert.javascript_bundle  # its type stub requires a snippet, the function does not
    return str(bundle(vl_version=_version()))


def _version() -> str:
    import altair

    return ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def charts(numbers: pd.DataFrame, curves: Curves) -> list[tuple[str, dict[str, Any]]]:
    """Build a chart per panel.

    Args:
        numbers: the numbers of a figure, with the columns variant, mean, low, high, n, `curves.x` and
            `curves.panels`.
        curves: how they are drawn.

    Returns:
        Title and Vega-Lite specification of each panel. Its parameter `shown` is the list of variants that
        are drawn.
    """
    curves.check(numbers)
    groups: list[tuple[Any, pd.DataFrame]] = [((), numbers)]
    if curves.panels:
        groups = list(numbers.groupby(list(curves.panels), sort=False))
    places = np.unique(np.linspace(0, len(groups) - 1, min(len(groups), MAX_PANELS)).round().astype(int))
    styles = style.styles_of(numbers.variant)
    result = []
    for place in places:
        names, part = groups[place]
        readers = {"quantity": words.metric, "condition": words.condition}
        given = zip(curves.panels, names, strict=True)
        title = ", ".join(filter(None, (readers.get(by, str)(str(name)) for by, name in given)))
        label = curves.y_label or words.metric(part["quantity"].iloc[0])
        result.append((title, _chart(part, curves, label, title, styles)))
    return result


def _chart(
    table: pd.DataFrame, curves: Curves, label: str, title: str, styles: dict[str, style.VariantStyle]
) -> dict[str, Any]:
    import altair as alt

    log_y = curves.log_y and bool((table["mean"].dropna() > 0).all())
    shown = alt.param("shown", value=list(styles))
    hovered = alt.selection_point(on="pointerover", empty=False)
    base = alt.Chart(alt.Data(values=_rows(table, curves.x, log_y))).transform_filter(
        "indexof(shown, datum.variant) >= 0"
    )
    domain = list(styles)
    colour = alt.Color(
        "variant:N", legend=None, scale=alt.Scale(domain=domain, range=[styles[v].color for v in domain])
    )
    dash = alt.StrokeDash(
        "variant:N", legend=None, scale=alt.Scale(domain=domain, range=[dashes(styles[v]) for v in domain])
    )
    x = alt.X(f"{curves.x}:Q", title=curves.x_label, **_horizontal(table[curves.x], curves.log_x))
    lowest = alt.Undefined if curves.floor is None else max(curves.floor, table["mean"].min())
    y_scale = alt.Scale(type="log", domainMin=lowest) if log_y else alt.Scale(zero=False)
    y = alt.Y("mean:Q", title=label, scale=y_scale, axis=alt.Axis(labelExpr=PLAIN, tickCount=6))
    tips = [
        alt.Tooltip("label:N", title="variant"),
        f"{curves.x}:Q",
        *(alt.Tooltip(f"{c}:Q", format=".4g") for c in ("mean", "low", "high")),
    ]
    # Few points are always marked; of many only the one under the pointer.
    resting = float(table[curves.x].nunique() <= MAX_MARKED_POINTS)
    band = base.mark_area(opacity=0.12, aria=False, clip=True).encode(
        x=x, y="low:Q", y2="high:Q", color=colour
    )
    line = base.mark_line(strokeWidth=2, aria=False, clip=True).encode(
        x=x, y=y, color=colour, strokeDash=dash
    )
    points = (
        base.mark_circle(size=70, aria=False, clip=True)
        .encode(
            x=x, y=y, color=colour, tooltip=[*tips, "n:Q"],
            opacity=alt.condition(hovered, alt.value(1), alt.value(resting)),
        )
        .add_params(hovered)
    )  # fmt: skip
    chart = alt.layer(band, line, points).add_params(shown)
    description = (
        f"{label} by {curves.x_label}{f', {title}' if title else ''}; its numbers are in the table below"
    )
    return chart_json(chart, description, height=230)


def chart_json(chart: Any, description: str, height: int = 200) -> dict[str, Any]:
    """Return the specification of a chart, with the style of our pages.

    Args:
        chart: The chart, of Altair.
        description: What it shows, for screen readers.
        height: In pixels.
    """
    import altair as alt

    return dict(
        chart.properties(width="container", height=height, description=description)
        .configure(
            background="transparent", font="system-ui, sans-serif", autosize=alt.AutoSizeParams(type="fit")
        )
        .configure_view(stroke=None)
        .configure_axis(gridColor="#e3e3e3", labelFontSize=12, titleFontSize=12, titleFontWeight="normal")
        .to_dict()
    )


def _horizontal(values: pd.Series, log: bool) -> dict[str, Any]:
    """Return scale and ticks: integers for epochs; 0 and powers of ten for a logarithmic axis from 0."""
    import altair as alt

    if not log:
        whole = bool((values % 1 == 0).all())
        steps = sorted(values.unique())
        # Ticks that Vega chooses between whole numbers would be rounded to the same label.
        few = {"values": steps} if len(steps) <= MAX_MARKED_POINTS else {"tickMinStep": 1, "tickCount": 8}
        ticks = {"axis": alt.Axis(format="d", **few)} if whole else {}
        return {"scale": alt.Scale(zero=False, nice=False), **ticks}
    if values.min() > 0:
        return {"scale": alt.Scale(type="log", nice=False), "axis": alt.Axis(labelExpr=PLAIN, tickCount=4)}
    powers = [10**k for k in range(12) if 10**k <= values.max()]
    return {"scale": alt.Scale(type="symlog"), "axis": alt.Axis(values=[0, *powers], labelExpr=PLAIN)}


def dashes(variant: style.VariantStyle) -> list[float]:
    """Return the dash pattern of an SVG line for the line style of a variant."""
    return [1, 0] if isinstance(variant.linestyle, str) else [2 * length for length in variant.linestyle[1]]


def _rows(table: pd.DataFrame, x: str, log_y: bool) -> list[dict[str, Any]]:
    """Return the points of all curves as JSON."""
    rows: list[dict[str, Any]] = []
    for name, part in table.groupby("variant", sort=False):
        kept = np.unique(np.linspace(0, len(part) - 1, min(len(part), MAX_POINTS)).round().astype(int))
        points = part.iloc[kept][["variant", x, "mean", "low", "high", "n"]].to_dict("records")
        label = {"label": words.variant(str(name))}
        rows += [label | {str(column): value for column, value in row.items()} for row in points]
    return [
        {
            name: value if isinstance(value, str) else _json(value, log_y and name != x)
            for name, value in row.items()
        }
        for row in rows
    ]


def _json(value: float, positive: bool) -> float | None:
    """Round to five digits; return None for a number that JSON, or a logarithmic axis, cannot represent."""
    number = float(value)
    return float(f"{number:.5g}") if math.isfinite(number) and (number > 0 or not positive) else None
