"""The errors of one run as text for a terminal, Markdown and CSV: the output of `scripts/errors.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gatescope.analysis import errors
from gatescope.analysis.report import numbers
from gatescope.analysis.report.tables import markdown as markdown_table
from gatescope.analysis.tables import Texts
from gatescope.tracking.outcomes import align_columns
from gatescope.tracking.predictions import classes, labels

MAX_CLASSES = 12
"""Classes up to which the confusion matrix is shown; with more, the most frequent confusions are."""
MAX_PAIRS = 20
"""Confusions that are shown."""
MAX_WIDTH = 100
"""Characters of a text in a terminal."""


@dataclass(frozen=True)
class TitledTable:
    """A table with its title and a note on its columns."""

    title: str
    table: pd.DataFrame
    note: str = ""


def error_tables(predictions: pd.DataFrame, count: int, texts: Texts | None) -> list[TitledTable]:
    """Return all tables on a run's predictions.

    Args:
        predictions: the predictions of the test split.
        count: largest number of worst errors.
        texts: lookup of the texts of the examples by id.
    """
    tables = [TitledTable("Test split", pd.DataFrame([errors.scores(predictions)]))]
    if classes(predictions):
        tables += classification_tables(predictions)
    if labels(predictions):
        note = "n: examples with the label."
        tables.append(TitledTable("Labels", errors.per_label(predictions), note))
    worst = errors.worst_errors(predictions, count, texts)
    return [*tables, TitledTable("Worst errors", worst, "" if len(worst) else "There are none.")]


def classification_tables(predictions: pd.DataFrame) -> list[TitledTable]:
    """Return the confusion matrix, a row per class, and the calibration."""
    counts = errors.confusion(predictions)
    if len(counts) <= MAX_CLASSES:
        named = counts.rename_axis(index=None, columns=None)
        matrix = named.reset_index(names="true \\ predicted")
        note = "Rows: the true class; columns: the predicted one."
        confusion = TitledTable("Confusion matrix", matrix, note)
    else:
        pairs = errors.confused_pairs(counts).head(MAX_PAIRS)
        note = f"{len(counts)} classes; share: of the true class."
        confusion = TitledTable("Most frequent confusions", pairs, note)
    bins = errors.calibration(predictions)
    note = f"Confidence: probability of the predicted class; {len(bins)} bins, those with examples are shown."
    return [
        confusion,
        TitledTable("Classes", errors.per_class(predictions), "n: examples of the class."),
        TitledTable("Calibration", bins[bins.n > 0], note),
    ]


def terminal(tables: Sequence[TitledTable], width: int = MAX_WIDTH) -> str:
    """Format tables as plain text without control characters from the data."""
    parts = []
    for one in tables:
        head = f"{one.title}. {one.note}".rstrip() if one.note else one.title
        parts.append("\n".join([head, *(f"  {line}" for line in align_columns(rows(one.table, width)))]))
    return "\n\n".join(parts)


def markdown(name: str, tables: Sequence[TitledTable]) -> str:
    """Format tables as one Markdown document with a section per table.

    Args:
        name: the run, for the heading.
        tables: the tables.
    """
    text = [f"# Errors of {numbers.literal(name)}"]
    for one in tables:
        text += [f"## {one.title}", *([one.note] if one.note else [])]
        if len(one.table):
            lines = [[numbers.literal(cell) for cell in row] for row in rows(one.table)]
            text.append(markdown_table(lines[0], lines[1:]))
    return "\n\n".join(text) + "\n"


def rows(table: pd.DataFrame, width: int | None = None) -> list[tuple[str, ...]]:
    """Format a table as rows of text, headings first.

    Args:
        table: the table.
        width: longer texts are truncated to this number of characters.
    """
    head = tuple(_printable(str(name).replace("_", " ")) for name in table)
    columns = [[_cell(value, width) for value in _as_integers(table[name])] for name in table]
    return [head, *zip(*columns, strict=True)]


def _as_integers(values: pd.Series) -> list[Any]:
    """Return the values, as integers where all of them are whole numbers."""
    items = values.tolist()
    whole = all(isinstance(v, float) and v.is_integer() for v in items)
    return [int(v) for v in items] if whole else items


def _cell(value: Any, width: int | None) -> str:
    if isinstance(value, float):
        return numbers.number(value)
    text = _printable(str(value))
    return text if width is None or len(text) <= width else f"{text[: width - 1]}…"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
