"""What `scripts/errors.py` shows of one run's errors: for a terminal, as Markdown, as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gatescope.analysis import errors
from gatescope.analysis.report import numbers
from gatescope.analysis.report.tables import markdown as markdown_table
from gatescope.tracking.outcomes import align_columns
from gatescope.tracking.predictions import classes, escape_formula

MOST_CLASSES = 12
"""Of which a matrix is read in a terminal; of more the commonest confusions are shown."""
MOST_PAIRS, WIDTH = 20, 100
"""Of confusions, and characters of a text in a terminal."""


@dataclass(frozen=True)
class Part:
    """A table with its heading; `note` says what the columns are."""

    title: str
    table: pd.DataFrame
    note: str = ""


def parts(predictions: pd.DataFrame, count: int, texts: errors.Texts | None) -> list[Part]:
    """All that there is to say of a run's predictions; `count` errors at most."""
    found = [Part("Test split", pd.DataFrame([errors.scores(predictions)]))]
    if classes(predictions):
        found += classification(predictions)
    worst = errors.worst_errors(predictions, count, texts)
    return [*found, Part("Worst errors", worst, "" if len(worst) else "There are none.")]


def classification(predictions: pd.DataFrame) -> list[Part]:
    """Confusion matrix, each class, calibration."""
    counts = errors.confusion(predictions)
    if len(counts) <= MOST_CLASSES:
        named = counts.rename_axis(index=None, columns=None)
        matrix = named.reset_index(names="true \\ predicted")
        found = Part("Confusion matrix", matrix, "Rows: the true class; columns: the predicted one.")
    else:
        pairs = errors.confused(counts).head(MOST_PAIRS)
        found = Part("Commonest confusions", pairs, f"{len(counts)} classes; share: of the true class.")
    bins = errors.calibration(predictions)
    note = f"Confidence: probability of the predicted class; {len(bins)} bins, those with examples are shown."
    return [
        found,
        Part("Classes", errors.per_class(predictions), "n: examples of the class."),
        Part("Calibration", bins[bins.n > 0], note),
    ]


def terminal(found: Sequence[Part], width: int = WIDTH) -> str:
    """Plain text in which no control character of a name or a text is left."""
    shown = []
    for part in found:
        head = f"{part.title}. {part.note}".rstrip() if part.note else part.title
        shown.append("\n".join([head, *(f"  {line}" for line in align_columns(rows(part.table, width)))]))
    return "\n\n".join(shown)


def markdown(name: str, found: Sequence[Part]) -> str:
    """One document with a section a part."""
    text = [f"# Errors of {numbers.literal(name)}"]
    for part in found:
        text += [f"## {part.title}", *([part.note] if part.note else [])]
        if len(part.table):
            lines = [[numbers.literal(cell) for cell in row] for row in rows(part.table)]
            text.append(markdown_table(lines[0], lines[1:]))
    return "\n\n".join(text) + "\n"


def csv(table: pd.DataFrame) -> str:
    """A table whose names and texts no spreadsheet takes for formulas."""
    safely = {str(name): table[name].map(_safe) for name in table if table[name].dtype.kind not in "iufb"}
    return str(table.assign(**safely).to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def _safe(value: Any) -> Any:
    return escape_formula(value) if isinstance(value, str) else value


def rows(table: pd.DataFrame, width: int | None = None) -> list[tuple[str, ...]]:
    """The table as text, headings first; a text of more than `width` characters is cut."""
    head = tuple(_printable(str(name).replace("_", " ")) for name in table)
    columns = [[_cell(value, width) for value in _whole(table[name])] for name in table]
    return [head, *zip(*columns, strict=True)]


def _whole(values: pd.Series) -> list[Any]:
    """As integers where all of the column are."""
    every = values.tolist()
    whole = all(isinstance(v, float) and v.is_integer() for v in every)
    return [int(v) for v in every] if whole else every


def _cell(value: Any, width: int | None) -> str:
    if isinstance(value, float):
        return numbers.number(value)
    text = _printable(str(value))
    return text if width is None or len(text) <= width else f"{text[: width - 1]}…"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
