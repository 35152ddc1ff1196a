"""The primer as one self-contained page: no other file, network or server is needed."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from markupsafe import Markup

from gatescope.analysis import style
from gatescope.analysis.report.interactive import chart_json
from gatescope.analysis.report.numbers import number
from gatescope.analysis.report.page import asset as report_asset
from gatescope.analysis.report.page import environment_of, library, script_json
from gatescope.explain.page import asset as explain_asset
from gatescope.primer.claims import at_lag, effect_at_zero, largest, verdicts
from gatescope.primer.words import LANGUAGES

SERIES = {"z": "#c8500a", "r": "#1f5fa8", "h̃": "#7b1f5c", "h": "#1b1b1b"}
"""Name and colour of the lines of one unit."""
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
LEAST, MOST = 1e-12, 100.0
"""Ends of the vertical axis of what is left of a gradient."""


def page(numbers: dict[str, Any]) -> str:
    """Return the HTML page; equal numbers give equal bytes.

    Args:
        numbers: as `gatescope.primer.numbers.measure` returns them, or as they are read from JSON.
    """
    environment = environment_of("gatescope.primer")
    environment.filters |= {"script_json": script_json, "number": number}
    environment.globals |= {
        "asset": _asset,
        "report_css": lambda: report_asset("page.css"),
        "explain_css": lambda: explain_asset("explain.css"),
        "library": library,
        "at_lag": at_lag,
    }
    variants = {name for one in numbers["fading"].values() for name in one["curves"]}
    return environment.get_template("primer.html.j2").render(
        n=numbers,
        words=LANGUAGES,
        judged=verdicts(numbers),
        at_zero=effect_at_zero(numbers),
        largest={name: largest(numbers, name) for name in variants},
        data={
            "sentences": numbers["sentences"],
            "labels": numbers["labels"],
            "levels": numbers["levels"],
            "fading": numbers["fading"],
            "names": {name: one.label for name, one in style.styles_of(variants).items()},
            "words": LANGUAGES,
            "charts": {name: charts(words, variants) for name, words in LANGUAGES.items()},
        },
    )


def charts(words: dict[str, Any], variants: set[str]) -> dict[str, Any]:
    """Return the Vega-Lite charts in one language; the page gives them their data.

    Args:
        words: the words of the language.
        variants: the variants whose gradients are drawn.
    """
    pair = {words["learned"]: "#6b6b6b", words["held"]: "#c8500a"}
    return {
        "gates": _by_word(SERIES, words["gates_chart"]),
        "memory": _by_word(pair, words["memory_chart"]),
        "fading": _fading(words, variants),
    }


def _by_word(series: dict[str, str], description: str) -> dict[str, Any]:
    """Return a chart of several lines over the words of a sentence."""
    import altair as alt

    names = list(series)
    chart = (
        alt.Chart(alt.InlineData(values=[], name="rows"))
        .mark_line(strokeWidth=2.5, point={"size": 50}, aria=False)
        .encode(
            x=alt.X("word:O", sort=None, title=None, axis=alt.Axis(labelAngle=-40, labelLimit=110)),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(domain=[-1, 1])),
            color=alt.Color(
                "series:N",
                title=None,
                scale=alt.Scale(domain=names, range=list(series.values())),
                legend=alt.Legend(orient="top"),
            ),
            strokeDash=alt.StrokeDash(
                "series:N", title=None, scale=alt.Scale(domain=names, range=list(DASHES[: len(names)]))
            ),
            tooltip=["word:N", "series:N", alt.Tooltip("value:Q", format=".3f")],
        )
    )
    return chart_json(chart, description)


def _fading(words: dict[str, Any], variants: set[str]) -> dict[str, Any]:
    """Return the chart of what is left of a gradient by lag, with a rule at the chosen lag."""
    import altair as alt

    styles = style.styles_of(variants)
    names = [one.label for one in styles.values()]
    scale = alt.Scale(type="log", domain=[LEAST, MOST], clamp=True)
    y = alt.Y("value:Q", title=words["left_axis"], scale=scale, axis=alt.Axis(format=".0e", tickCount=7))
    x = alt.X("lag:Q", title=words["lag_axis"], scale=alt.Scale(nice=False))
    lines = (
        alt.Chart(alt.InlineData(values=[{"cell": names[0], "lag": 0, "value": 1}], name="rows"))
        .mark_line(strokeWidth=2.5, aria=False, clip=True)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "cell:N",
                title=None,
                scale=alt.Scale(domain=names, range=[one.color for one in styles.values()]),
                legend=alt.Legend(orient="top"),
            ),
            strokeDash=alt.StrokeDash(
                "cell:N", title=None, scale=alt.Scale(domain=names, range=list(DASHES[: len(names)]))
            ),
            tooltip=["cell:N", "lag:Q", alt.Tooltip("value:Q", format=".2e")],
        )
    )
    rule = (
        alt.Chart(alt.InlineData(values=[{"lag": 0}], name="rule"))
        .mark_rule(strokeWidth=1.5, strokeDash=[4, 3], color="#444444", aria=False)
        .encode(x="lag:Q")
    )
    return chart_json(lines + rule, words["fading_chart"])


def _asset(name: str) -> Markup:
    """Return a file of the templates."""
    return Markup((files("gatescope.primer") / "templates" / name).read_text(encoding="utf-8"))
