"""An explanation as one HTML page that needs nothing beside it, no network and no server."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gatescope.analysis.report.page import asset as report_asset
from gatescope.analysis.report.page import library, script_json
from gatescope.explain.explanation import Explanation, Row

MOST_LABELS = 60
"""Of the steps on an axis; with more, every so many are named."""
LINE_COLOURS = ("#1f5fa8", "#c8500a", "#1b1b1b", "#4fc7a6", "#7b1f5c", "#e8a33d")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])


def page(found: Explanation) -> str:
    """The whole page; the same explanation gives the same bytes."""
    environment = Environment(
        loader=PackageLoader("gatescope.explain"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"script_json": script_json, "number": number}
    environment.globals |= {
        "asset": _asset,
        "report_css": lambda: report_asset("page.css"),
        "library": library,
    }
    return environment.get_template("explain.html.j2").render(
        found=found,
        rows=[(row, shares(row)) for row in found.rows],
        alignment=_aligned(found),
        data={
            "steps": found.steps,
            "units": found.units,
            "widest": {name: widest(rows) for name, rows in found.units.items()},
            "unit_chart": unit_chart(found),
            "feature_chart": feature_chart(found) if found.features else None,
        },
    )


def shares(row: Row) -> list[float]:
    """How full each cell is drawn, 0 to 1: of the row's greatest value, or of 1 for what is a share of 1."""
    most = max((abs(value) for value in row.values if value is not None), default=0.0)
    if row.name.endswith(" gate"):
        most = 1.0
    return [0.0 if value is None or not most else round(abs(value) / most, 4) for value in row.values]


def _aligned(found: Explanation) -> list[tuple[str, list[float]]]:
    if found.alignment is None:
        return []
    return list(zip(found.alignment.symbols, found.alignment.weights, strict=True))


def number(value: float | None) -> str:
    """Two digits; a dash for no value."""
    if value is None:
        return "–"
    return (
        f"{value:.2f}".replace("-", "−")
        if value == 0 or abs(value) >= 0.01
        else f"{value:.0e}".replace("-", "−")
    )


def widest(rows: list[list[float]]) -> int:
    """The unit that varies most over the steps."""
    return max(range(len(rows)), key=lambda unit: max(rows[unit]) - min(rows[unit]))


def unit_chart(found: Explanation) -> dict[str, Any]:
    """Vega-Lite of a unit over the steps, at first the first gate's widest; the page sets its data `unit`."""
    import altair as alt

    rows = next(iter(found.units.values()))
    first = enumerate(zip(found.steps, rows[widest(rows)], strict=True))
    values = [{"place": t, "step": step, "value": value} for t, (step, value) in first]
    data = alt.InlineData(values=values, name="unit")
    base = alt.Chart(data).encode(
        x=_steps_axis(found), y=alt.Y("value:Q", title="value", scale=alt.Scale(zero=False))
    )
    line = base.mark_line(color=LINE_COLOURS[0], strokeWidth=2, aria=False)
    points = base.mark_circle(color=LINE_COLOURS[0], size=60, aria=False).encode(
        tooltip=["step:N", alt.Tooltip("value:Q", format=".4f")]
    )
    return _finished(line + points, "The chosen unit over the steps; its numbers are in the table's last row")


def feature_chart(found: Explanation) -> dict[str, Any]:
    """Vega-Lite of the input's features over the steps."""
    import altair as alt

    rows = [
        {"place": t, "step": found.steps[t], "feature": str(name), "value": value}
        for name, series in enumerate(found.features)
        for t, value in enumerate(series)
    ]
    names = [str(name) for name in range(len(found.features))]
    colours = [LINE_COLOURS[i % len(LINE_COLOURS)] for i in range(len(names))]
    dashes = [DASHES[i // len(LINE_COLOURS) % len(DASHES)] for i in range(len(names))]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=1.5, aria=False)
        .encode(
            x=_steps_axis(found),
            y=alt.Y("value:Q", title="input", scale=alt.Scale(zero=False)),
            color=alt.Color("feature:N", scale=alt.Scale(domain=names, range=colours)),
            strokeDash=alt.StrokeDash("feature:N", scale=alt.Scale(domain=names, range=dashes)),
            tooltip=["feature:N", "place:Q", alt.Tooltip("value:Q", format=".4f")],
        )
    )
    return _finished(chart, "The input's features over the steps")


def _steps_axis(found: Explanation) -> Any:
    import altair as alt

    if found.features:
        return alt.X("place:Q", title="step", scale=alt.Scale(nice=False))
    every = -(-len(found.steps) // MOST_LABELS)
    shown = [step if t % every == 0 else "" for t, step in enumerate(found.steps)]
    label = alt.Axis(labelExpr=f"{json.dumps(shown)}[datum.value]", labelAngle=-40)
    return alt.X("place:O", title=None, axis=label)


def _finished(chart: Any, description: str) -> dict[str, Any]:
    import altair as alt

    return dict(
        chart.properties(width="container", height=200, description=description)
        .configure(
            background="transparent", font="system-ui, sans-serif", autosize=alt.AutoSizeParams(type="fit")
        )
        .configure_view(stroke=None)
        .configure_axis(gridColor="#e3e3e3", labelFontSize=12, titleFontSize=12, titleFontWeight="normal")
        .to_dict()
    )


def _asset(name: str) -> Markup:
    return Markup((files("gatescope.explain") / "templates" / name).read_text(encoding="utf-8"))
