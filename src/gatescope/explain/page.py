"""An explanation as one self-contained HTML page: no other file, network or server is needed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gatescope.analysis.report.page import asset as report_asset
from gatescope.analysis.report.page import library, script_json
from gatescope.explain.charts import feature_chart, most_variable_unit, unit_chart
from gatescope.explain.explanation import Explanation
from gatescope.explain.rows import Row
from gatescope.explain.numbers import texts


@dataclass(frozen=True)
class Word:
    """A token of a text in colour.

    Attributes:
        text: the token.
        number: its number.
        share: how strong the colour is, 0 to 1.
        minus: whether the number is negative.
        space: whether a space precedes it.
    """

    text: str
    number: str
    share: float
    minus: bool
    space: bool


@dataclass(frozen=True)
class Sentence:
    """A text in the colours of one measure.

    Attributes:
        row: the measure.
        words: the tokens.
        largest: the number of the strongest colour.
    """

    row: Row
    words: list[Word]
    largest: str


def page(explanation: Explanation) -> str:
    """Return the HTML page; the same explanation gives the same bytes."""
    environment = Environment(
        loader=PackageLoader("gatescope.explain"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["script_json"] = script_json
    environment.globals |= {
        "asset": asset,
        "report_css": lambda: report_asset("page.css"),
        "library": library,
    }
    return environment.get_template("explain.html.j2").render(
        explanation=explanation,
        rows=[(row, shares(row), texts(row.values, row.signed)) for row in explanation.rows],
        sentences=sentences(explanation),
        alignment=_alignment_rows(explanation),
        data={
            "steps": explanation.steps,
            "units": explanation.units,
            "most_variable": {name: most_variable_unit(rows) for name, rows in explanation.units.items()},
            "unit_chart": unit_chart(explanation),
            "feature_chart": feature_chart(explanation) if explanation.features else None,
        },
    )


def sentences(explanation: Explanation) -> list[Sentence]:
    """Return the text in the colours of each measure on its tokens; signed measures come first."""
    if explanation.features:
        return []
    spaces = explanation.spaces or [place > 0 for place in range(len(explanation.steps))]
    rows = sorted((row for row in explanation.rows if row.about_input), key=preference)
    return [
        Sentence(
            row,
            [
                Word(step, text, share, value is not None and value < 0, space)
                for step, text, share, value, space in zip(
                    explanation.steps,
                    texts(row.values, row.signed),
                    shares(row),
                    row.values,
                    spaces,
                    strict=True,
                )
            ],
            texts([largest_of(row)])[0],
        )
        for row in rows
    ]


def preference(row: Row) -> int:
    """Return the place of a measure: integrated gradients first, since they add up to the prediction."""
    order = ("integrated gradients", "gradient × input", "leave-one-out", "attention")
    return order.index(row.name) if row.name in order else len(order)


def largest_of(row: Row) -> float:
    """Return the largest absolute value of a row."""
    return max((abs(value) for value in row.values if value is not None), default=0.0)


def shares(row: Row) -> list[float]:
    """Return how far each cell is filled, 0 to 1: relative to the largest value of the row, gates to 1."""
    largest = largest_of(row)
    if row.name.endswith(" gate"):
        largest = 1.0
    return [0.0 if value is None or not largest else round(abs(value) / largest, 4) for value in row.values]


def _alignment_rows(explanation: Explanation) -> list[tuple[str, list[float], list[str]]]:
    """Return each target symbol with its weights, as numbers and as text."""
    found = explanation.alignment
    if found is None:
        return []
    return [
        (symbol, weights, texts(weights))
        for symbol, weights in zip(found.symbols, found.weights, strict=True)
    ]


def asset(name: str) -> Markup:
    """Return a file of the templates."""
    return Markup((files("gatescope.explain") / "templates" / name).read_text(encoding="utf-8"))
