"""The predictions of a run's test split: `predictions.csv` in its record, a row an example, in order of `id`.

    id          index of the example within the test split
    loss        of the example, as the task's objective has it; their mean is `test/loss`

and, by the kind of the task,

    classification   target, prediction    names of classes; numbers where the data have no names
                     p(<class>)            probability of each class, in the order of the task's labels
    regression       target, prediction    values
    transduction     target, prediction    symbols with spaces between; `target` is the first accepted answer
                     also                  further accepted answers, a JSON list (only where data have them)
                     errors, symbols       edits to the nearest accepted answer, and its length
    next step        correct, scored       steps whose symbol is right, and steps that count
      multi-label    steps, hits, either   steps that count; outputs that are on in both, and in either

Metrics follow from the columns: accuracy is the share of rows with target = prediction, an error rate
Σ errors / Σ symbols, bits per character Σ loss · scored / Σ scored / ln 2, NLL Σ loss · steps / Σ steps, and
frame accuracy Σ hits / Σ either.

Numbers have six significant digits; targets and predictions of a regression are exact. The texts of a test
split are not in the file: `scripts/errors.py` shows them beside it. Names and symbols come from the data, and
a spreadsheet would run one that begins like a formula: such a cell begins with an apostrophe instead, which
`read` takes off. The file is UTF-8, with a byte order mark where it is not plain ASCII (Excel needs that).
One of more than `MOST_PLAIN` bytes is `predictions.csv.gz`.

Written once a run, after the test of the best weights, by the process that owns the record. No torch here.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

FILE, PACKED = "predictions.csv", "predictions.csv.gz"
FILES = (FILE, PACKED)

MOST_PLAIN = 64 << 20
"""Bytes. Measured: 0.2 MB for 3,544 test texts of tweets in three classes, 4.4 MB for 11,005 examples in 35
classes, 13.6 MB for 12,000 in 100. A spreadsheet opens plain files only."""

Columns = Mapping[str, Any]
"""Names -> a list of strings or an array of numbers each, all of one length."""

NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "＝", "＋", "－", "＠")
"""What a cell must not begin with: a spreadsheet takes it for a formula (OWASP), or it is our own mark."""


def safe(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula; `plain` is its inverse."""
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text


def plain(cell: str) -> str:
    """The text of a cell that `safe` made."""
    return cell.removeprefix("'")


def encode(columns: Columns) -> tuple[str, bytes]:
    """The name of the file and its content."""
    names = [name for name in columns if name != "also" or any(columns[name])]
    rows = zip(*(_cells(name, columns[name]) for name in names), strict=True)
    text = "".join(",".join(row) + "\n" for row in (map(_quoted, names), *rows))
    data = text.encode("utf-8" if text.isascii() else "utf-8-sig")
    return (FILE, data) if len(data) <= MOST_PLAIN else (PACKED, gzip.compress(data, mtime=0))


def _cells(name: str, values: Any) -> Iterable[str]:
    if not isinstance(values, np.ndarray):
        return (_quoted(safe(value)) for value in values)
    if values.dtype.kind in "iub":
        return map(str, values.tolist())
    # The shortest text from which the same float of this width is read, or six digits of it.
    exact = name in ("target", "prediction")
    return map(str, values) if exact else (f"{value:.6g}" for value in values.tolist())


def _quoted(cell: str) -> str:
    # The csv module of Python 3.11 leaves a carriage return unquoted where it does not end lines.
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"\r\n') else cell


def find(directory: Path) -> Path | None:
    """The file in a run's directory; None where the run has kept none."""
    return next((path for path in (directory / name for name in FILES) if path.exists()), None)


def read(path: Path) -> Any:
    """The file as a DataFrame: names and symbols are strings, everything else numbers.

    Raises:
        ValueError: it is no such file; the message names it.
    """
    import pandas as pd  # a training run does without it

    try:
        head = [str(name) for name in pd.read_csv(path, nrows=0, encoding="utf-8-sig")]
        texts = text_columns(head)
        kinds: dict[str, Any] = {
            name: str if name in texts else np.int64 if name in WHOLE else np.float64 for name in head
        }
        table = pd.read_csv(
            path, dtype=kinds, na_values={n: ["nan"] for n in head if n not in texts},
            keep_default_na=False, encoding="utf-8-sig",
        )  # fmt: skip
        if "id" not in table or "loss" not in table:
            raise ValueError("no columns id and loss")
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{path} is not a file of predictions ({error}): run it again, force=true"
        ) from error
    # The copy is one block: columns of different types are read into a block each.
    return table.assign(**{name: table[name].map(plain) for name in texts}).copy()


WHOLE = ("id", "errors", "symbols", "correct", "scored", "steps", "hits", "either")
"""Columns of counts."""


def text_columns(names: Iterable[Any]) -> list[str]:
    """Those of these columns that hold names or symbols."""
    names = list(names)
    if "errors" not in names and not classes(names):
        return []
    return [name for name in ("target", "prediction", "also") if name in names]


def classes(names: Iterable[Any]) -> list[str]:
    """The classes of a classification, in order, by the names of the columns; [] of another task."""
    return [name[2:-1] for name in names if name.startswith("p(") and name.endswith(")")]


def badness(columns: Columns | pd.DataFrame) -> np.ndarray:
    """(N,): how bad each prediction is, 0 where it is right.

    Of a classification the loss of what is wrong; of a regression |error|; of a transduction edits over the
    length of the nearest answer; of a symbol a step the loss where a step is wrong; of several outputs a step
    the loss.
    """
    loss = np.asarray(columns["loss"], dtype=float)
    if "errors" in columns:
        return np.asarray(columns["errors"]) / np.maximum(np.asarray(columns["symbols"]), 1)
    if classes(columns):
        return np.where(np.asarray(columns["target"]) == np.asarray(columns["prediction"]), 0.0, loss)
    if "target" in columns:
        return np.abs(np.asarray(columns["target"]) - np.asarray(columns["prediction"]))
    if "correct" in columns:
        return np.where(np.asarray(columns["correct"]) == np.asarray(columns["scored"]), 0.0, loss)
    return loss


def worst(columns: Columns | pd.DataFrame, count: int) -> list[int]:
    """Positions of the worst predictions, the worst first; those that are right are not among them. Of
    equally bad ones the greater loss comes first, then the lower id."""
    bad = badness(columns)
    order = np.lexsort((np.asarray(columns["id"]), -np.asarray(columns["loss"], dtype=float), -bad))
    return [int(i) for i in order[:count] if bad[i] > 0]


def shown(columns: Columns, positions: Sequence[int]) -> list[dict[str, Any]]:
    """What tables of errors say of these rows: id, loss, and what there is of target and prediction."""
    names = [name for name in columns if not (name.startswith("p(") or name == "also")]
    return [{name: columns[name][i] for name in names} for i in positions]
