"""The predictions of a run's test split: `predictions.csv` in its record, a row per example, sorted by `id`.

    id          index of the example within the test split
    loss        loss of the example, as defined by the task's objective; the mean is `test/loss`

and, depending on the kind of the task,

    classification   target, prediction    names of classes, or their indices if the data have no names
                     p(<class>)            probability of each class, in the order of the task's labels
      multi-label    targets, predictions  JSON lists of labels
                     p(<label>)            probability of each label
    regression       target, prediction    values; of several outputs target(<name>) and prediction(<name>)
    transduction     target, prediction    symbols separated by spaces; `target` is the first accepted answer
                     also                  further accepted answers, a JSON list (only if the data have any)
                     errors, symbols       edits to the nearest accepted answer, and its length
    next step        correct, scored       numbers of correct and of scored steps
      multi-label    steps, hits, either   scored steps; outputs active in both, and in either
    tagging          correct, scored       numbers of correct and of all tokens; if the tags mark spans,
                     span_hits             also of spans that are predicted and true,
                     span_predictions      of predicted spans,
                     spans                 and of true ones

Metrics follow from the columns: accuracy is the share of rows with target = prediction, subset accuracy that
of rows with targets = predictions, an error rate
Σ errors / Σ symbols, bits per character Σ loss · scored / Σ scored / ln 2, NLL Σ loss · steps / Σ steps, and
frame accuracy Σ hits / Σ either, span F1 2 Σ span_hits / Σ (span_predictions + spans).

Numbers have six significant digits; targets and predictions of a regression are exact. The file does not
contain the texts of the test split; `scripts/errors.py` shows them next to it. Names and symbols come from
the data, and a spreadsheet would evaluate a cell that begins like a formula: an apostrophe is put in front,
which `read` removes. The file is UTF-8, with a byte order mark if it is not plain ASCII, which Excel needs. A
file of more than `MAX_PLAIN_BYTES` is compressed to `predictions.csv.gz`.

The process that owns the record writes the file once, after the test of the best weights. This module does
not import torch.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

FILE, PACKED = "predictions.csv", "predictions.csv.gz"
FILES = (FILE, PACKED)
DIGITS = 6
"""Significant digits of losses and probabilities."""

MAX_PLAIN_BYTES = 64 << 20
"""Measured: 0.2 MB for 3,544 test texts of tweets in three classes, 4.4 MB for 11,005 examples in 35 classes,
13.6 MB for 12,000 in 100. A spreadsheet opens uncompressed files only."""

Columns = Mapping[str, Any]
"""Column names mapped to lists of strings or arrays of numbers, all of the same length."""

NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "＝", "＋", "－", "＠")
"""First characters with which a spreadsheet evaluates a cell (OWASP), and the mark that prevents it."""

SPANS = ("span_hits", "span_predictions", "spans")
COUNTS = ("id", "errors", "symbols", "correct", "scored", "steps", "hits", "either", *SPANS)
"""Columns of integers."""


def escape_formula(text: str) -> str:
    """Return the text as a cell that a spreadsheet does not evaluate; `unescape_formula` is the inverse."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(text) else text


def unescape_formula(cell: str) -> str:
    """Return the text of a cell that `escape_formula` returned."""
    return cell.removeprefix("'")


def encode(columns: Columns) -> tuple[str, bytes]:
    """Return the name of the file and its content."""
    data = content(columns)
    return (FILE, data) if len(data) <= MAX_PLAIN_BYTES else (PACKED, gzip.compress(data, mtime=0))


def content(columns: Columns, digits: int = DIGITS) -> bytes:
    """Return the content of the file, not compressed.

    Args:
        columns: The predictions.
        digits: Significant digits of losses and probabilities.
    """
    names = [name for name in columns if name != "also" or any(columns[name])]
    rows = zip(*(_cells(name, columns[name], digits) for name in names), strict=True)
    text = "".join(",".join(row) + "\n" for row in (map(_quote, names), *rows))
    return text.encode("utf-8" if text.isascii() else "utf-8-sig")


def _cells(name: str, values: Any, digits: int) -> Iterable[str]:
    """Return the cells of a column."""
    if not isinstance(values, np.ndarray):
        return (_quote(escape_formula(value)) for value in values)
    if values.dtype.kind in "iub":
        return map(str, values.tolist())
    # The shortest text that gives the same float of this width, or so many digits.
    is_exact = name.partition("(")[0] in ("target", "prediction")
    return map(str, values) if is_exact else (f"{value:.{digits}g}" for value in values.tolist())


def _quote(cell: str) -> str:
    # The csv module of Python 3.11 does not quote a carriage return unless it ends lines.
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"\r\n') else cell


def find(directory: Path) -> Path | None:
    """Return the file in a run's directory; None if there is none."""
    return next((path for path in (directory / name for name in FILES) if path.exists()), None)


def read(path: Path) -> Any:
    """Return the file as a DataFrame: names and symbols are strings, everything else is a number.

    Raises:
        ValueError: The file is not a file of predictions.
    """
    try:
        content = path.read_bytes()
        return decode(gzip.decompress(content) if path.suffix == ".gz" else content)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path} is not a file of predictions ({error}): run it again, force=true"
        ) from error


def decode(content: bytes) -> Any:
    """Return the DataFrame of a file's content; see `read`.

    Raises:
        ValueError: It is not the content of a file of predictions.
    """
    import pandas as pd  # a training run does not need it

    names = [str(name) for name in pd.read_csv(io.BytesIO(content), nrows=0, encoding="utf-8-sig")]
    texts = text_columns(names)
    dtypes: dict[str, Any] = {
        name: str if name in texts else np.int64 if name in COUNTS else np.float64 for name in names
    }
    table = pd.read_csv(
        io.BytesIO(content), dtype=dtypes, na_values={n: ["nan"] for n in names if n not in texts},
        keep_default_na=False, encoding="utf-8-sig", float_precision="round_trip",
    )  # fmt: skip
    if "id" not in table or "loss" not in table:
        raise ValueError("no columns id and loss")
    # The copy is one block: columns of different types are read into separate blocks.
    return table.assign(**{name: table[name].map(unescape_formula) for name in texts}).copy()


def text_columns(names: Iterable[Any]) -> list[str]:
    """Return those of these columns that contain names or symbols."""
    names = list(names)
    if "errors" not in names and not classes(names) and not labels(names):
        return []
    return [n for n in ("target", "prediction", "also", "targets", "predictions") if n in names]


def classes(names: Iterable[Any]) -> list[str]:
    """Return the classes of a classification, by the names of its columns; [] for another task."""
    names = list(names)
    return [] if "targets" in names else _with_probability(names)


def labels(names: Iterable[Any]) -> list[str]:
    """Return the labels of a multi-label classification, by the names of its columns; [] for another task."""
    names = list(names)
    return _with_probability(names) if "targets" in names else []


def _with_probability(names: Iterable[Any]) -> list[str]:
    return [name[2:-1] for name in names if name.startswith("p(") and name.endswith(")")]


def outputs(names: Iterable[Any]) -> list[str]:
    """Return the outputs of a regression on several, by the names of its columns; [] for another task."""
    return [str(name)[7:-1] for name in names if str(name).startswith("target(")]


def flags(cells: Iterable[str], names: Sequence[str]) -> np.ndarray:
    """Return the labels (N, K) of JSON lists as zeros and ones."""
    index = {name: i for i, name in enumerate(names)}
    rows = [[index[name] for name in json.loads(cell)] for cell in cells]
    result = np.zeros((len(rows), len(names)), dtype=np.int64)
    for row, members in zip(result, rows, strict=True):
        row[members] = 1
    return result


def badness(columns: Columns | pd.DataFrame) -> np.ndarray:
    """Return how wrong each prediction is, of shape (N,); 0 if it is correct.

    This is, for classification, the loss of wrong predictions (of several labels, if any is wrong); for
    regression, the absolute error, of several outputs the loss; for transduction, the number of edits divided
    by the length of the nearest answer; for one symbol per step, the loss of sequences with a wrong step; for
    several outputs per step, the loss.
    """
    loss = np.asarray(columns["loss"], dtype=float)
    if "errors" in columns:
        return np.asarray(columns["errors"]) / np.maximum(np.asarray(columns["symbols"]), 1)
    if classes(columns):
        return np.where(np.asarray(columns["target"]) == np.asarray(columns["prediction"]), 0.0, loss)
    if labels(columns):
        return np.where(np.asarray(columns["targets"]) == np.asarray(columns["predictions"]), 0.0, loss)
    if "target" in columns:
        return np.abs(np.asarray(columns["target"]) - np.asarray(columns["prediction"]))
    if "correct" in columns:
        return np.where(np.asarray(columns["correct"]) == np.asarray(columns["scored"]), 0.0, loss)
    return loss


def worst(columns: Columns | pd.DataFrame, count: int) -> list[int]:
    """Return the positions of the worst predictions, the worst first, without correct ones.

    Equally wrong predictions are sorted by descending loss, then by id.

    Args:
        columns: The predictions.
        count: Largest number of positions.
    """
    errors = badness(columns)
    order = np.lexsort((np.asarray(columns["id"]), -np.asarray(columns["loss"], dtype=float), -errors))
    return [int(i) for i in order[:count] if errors[i] > 0]


def error_rows(columns: Columns, positions: Sequence[int]) -> list[dict[str, Any]]:
    """Return the rows at these positions, without probabilities and further accepted answers."""
    names = [name for name in columns if not (name.startswith("p(") or name == "also")]
    return [{name: columns[name][i] for name in names} for i in positions]
