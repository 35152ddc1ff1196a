"""An explanation as one self-contained HTML page: no other file, network or server is needed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from gatescope.analysis.report.page import asset as report_asset
from gatescope.analysis.report.page import environment_of, library, script_json
from gatescope.explain.charts import feature_chart, most_variable_unit, unit_chart
from gatescope.explain.explanation import Explanation
from gatescope.explain.numbers import texts
from gatescope.explain.rows import GRADIENT, Row


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


@dataclass(frozen=True)
class Part:
    """What the page shows of one model.

    Attributes:
        explanation: the explanation.
        rows: each row with how far its cells are filled and their numbers.
        sentences: the text in the colours of each measure.
        bars: the rows that can stand as bars under the words: the norms of the gradients at the states.
        alignment: attention weights of a decoder.
    """

    explanation: Explanation
    rows: list[tuple[Row, list[float], list[str]]]
    sentences: list[Sentence]
    bars: list[Row]
    alignment: list[tuple[str, list[float], list[str]]]


def page(*explanations: Explanation) -> str:
    """Return the HTML page; the same explanations give the same bytes.

    Args:
        explanations: of the same input by one model, or by several, which are shown side by side.
    """
    environment = environment_of("gatescope.explain")
    environment.filters |= {"script_json": script_json, "name": name_of}
    environment.globals |= {
        "asset": asset,
        "report_css": lambda: report_asset("page.css"),
        "library": library,
    }
    parts = [_part(one) for one in explanations]
    template = environment.get_template("explain.html.j2")
    return template.render(parts=parts, data=[_data(part) for part in parts])


def name_of(explanation: Explanation) -> str:
    """Return what a model is called."""
    return ", ".join(filter(None, (explanation.run, explanation.note)))


def _part(explanation: Explanation) -> Part:
    coloured = sentences(explanation)
    return Part(
        explanation=explanation,
        rows=[(row, shares(row), texts(row.values, row.signed)) for row in explanation.rows],
        sentences=coloured,
        bars=[row for row in explanation.rows if row.name.endswith(GRADIENT)] if coloured else [],
        alignment=_alignment_rows(explanation),
    )


def _data(part: Part) -> dict[str, Any]:
    """Return what the script of the page reads."""
    explanation = part.explanation
    return {
        "steps": explanation.steps,
        "units": explanation.units,
        "most_variable": {name: most_variable_unit(rows) for name, rows in explanation.units.items()},
        "unit_chart": unit_chart(explanation),
        "feature_chart": feature_chart(explanation) if explanation.features else None,
        "connections": explanation.connections,
        "bars": [
            {"name": row.name, "values": shares(row), "largest": texts([largest_of(row)])[0]}
            for row in part.bars
        ],
        "passages": None if explanation.passages is None else asdict(explanation.passages),
    }


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
