"""The charts of an explanation in Vega-Lite."""

from __future__ import annotations

import json
from typing import Any

from gatescope.analysis.report.interactive import chart_json
from gatescope.explain.explanation import Explanation

MOST_LABELS = 60
"""Largest number of labelled steps on an axis; longer sequences have a label at every n-th step."""
MOST_LINES = 24
"""Largest number of features that are drawn as lines; more are cells in colour."""
LINE_COLOURS = ("#1f5fa8", "#c8500a", "#1b1b1b", "#4fc7a6", "#7b1f5c", "#e8a33d")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])


def most_variable_unit(rows: list[list[float]]) -> int:
    """Return the hidden unit with the largest range over the steps."""
    return max(range(len(rows)), key=lambda unit: max(rows[unit]) - min(rows[unit]))


def unit_chart(explanation: Explanation) -> dict[str, Any]:
    """Return the Vega-Lite chart of one hidden unit over the steps.

    It starts with the most variable unit of the first gate; the page replaces its data set `unit`.
    """
    import altair as alt

    rows = next(iter(explanation.units.values()))
    unit = enumerate(zip(explanation.steps, rows[most_variable_unit(rows)], strict=True))
    values = [{"place": t, "step": step, "value": value} for t, (step, value) in unit]
    data = alt.InlineData(values=values, name="unit")
    base = alt.Chart(data).encode(
        x=_steps_axis(explanation), y=alt.Y("value:Q", title="value", scale=alt.Scale(zero=False))
    )
    line = base.mark_line(color=LINE_COLOURS[0], strokeWidth=2, aria=False)
    points = base.mark_circle(color=LINE_COLOURS[0], size=60, aria=False).encode(
        tooltip=["step:N", alt.Tooltip("value:Q", format=".4f")]
    )
    return chart_json(
        line + points, "The selected hidden unit over the steps; its numbers are in the last row of the table"
    )


def feature_chart(explanation: Explanation) -> dict[str, Any]:
    """Return the Vega-Lite chart of the input features over the steps."""
    import altair as alt

    if len(explanation.features) > MOST_LINES or len(explanation.features[0]) > len(explanation.steps):
        return _spectrogram(explanation)
    rows = [
        {"place": t, "step": explanation.steps[t], "feature": str(name), "value": value}
        for name, series in enumerate(explanation.features)
        for t, value in enumerate(series)
    ]
    names = [str(name) for name in range(len(explanation.features))]
    colours = [LINE_COLOURS[i % len(LINE_COLOURS)] for i in range(len(names))]
    dashes = [DASHES[i // len(LINE_COLOURS) % len(DASHES)] for i in range(len(names))]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=1.5, aria=False)
        .encode(
            x=_steps_axis(explanation),
            y=alt.Y("value:Q", title="input", scale=alt.Scale(zero=False)),
            color=alt.Color("feature:N", scale=alt.Scale(domain=names, range=colours)),
            strokeDash=alt.StrokeDash("feature:N", scale=alt.Scale(domain=names, range=dashes)),
            tooltip=["feature:N", "place:Q", alt.Tooltip("value:Q", format=".4f")],
        )
    )
    return chart_json(chart, "The input features over the steps")


def _spectrogram(explanation: Explanation) -> dict[str, Any]:
    """Return the Vega-Lite chart of many features, a row of cells each; the first is at the bottom."""
    import altair as alt

    windows = len(explanation.features[0]) // len(explanation.steps)  # in one step
    rows = [
        {"place": t / windows, "end": (t + 1) / windows, "feature": name, "top": name + 1, "value": value}
        for name, series in enumerate(explanation.features)
        for t, value in enumerate(series)
    ]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_rect(aria=False)
        .encode(
            x=alt.X("place:Q", title="step", scale=alt.Scale(nice=False), axis=alt.Axis(tickMinStep=1)),
            x2="end:Q",
            y=alt.Y("feature:Q", title="input", scale=alt.Scale(nice=False)),
            y2="top:Q",
            color=alt.Color("value:Q", title=None, scale=alt.Scale(scheme="viridis")),
        )
    )
    return chart_json(chart, "The input features over the steps")


def _steps_axis(explanation: Explanation) -> Any:
    """Return the x axis: step numbers for features, tokens otherwise."""
    import altair as alt

    if explanation.features:
        return alt.X("place:Q", title="step", scale=alt.Scale(nice=False))
    every = -(-len(explanation.steps) // MOST_LABELS)
    labels = [step if t % every == 0 else "" for t, step in enumerate(explanation.steps)]
    axis = alt.Axis(labelExpr=f"{json.dumps(labels)}[datum.value]", labelAngle=-40)
    return alt.X("place:O", title=None, axis=axis)
