"""The .ts format of the time series archives (Bagnall et al. 2018), as sktime writes it.

A header of lines "@key value" up to @data, then one example per line: its dimensions separated by colons, the
values of each by commas, and the label or target last. Problems are reported with line, dimension and time
step, which sktime's own reader does not do.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gatescope.data.errors import DataError, Problems
from gatescope.data.text_io import open_text

COMMENTS = ("#", "%")
"""What the lines of comments begin with."""
LABELS = ("@classlabel", "@targetlabel")
"""Keys that declare a label at the end of each example: a class, or a number."""


class Example(NamedTuple):
    """A labelled series.

    Attributes:
        values: (T, F) float32.
        label: the label, or the target as text.
        where: place in the file.
    """

    values: np.ndarray
    label: str
    where: str


def read_ts(path: Path, problems: Problems) -> Iterator[Example]:
    """Yield the valid examples of a file; add a problem for each of the others.

    Raises:
        DataError: the file has another format, no labels, or time stamps.
    """
    with open_text(path) as stream:
        start = _read_header(path, stream)
        number, dimensions = 0, 0
        for line, text in enumerate(stream, start):
            if not text.strip() or text.lstrip().startswith(COMMENTS):
                continue
            number += 1
            where = f"row {number} (line {line})"
            *series, label = text.strip().split(":")
            dimensions = dimensions or len(series)
            if len(series) != dimensions or not series:
                problems.add(where, f"expected {dimensions or 'some'} dimensions, found {len(series)}")
                continue
            values = _read_series(series, where, problems)
            if values is not None:
                yield Example(values, label, where)
        if not number and not problems.count:
            raise DataError(f"{path}: no example after @data")


def _read_header(path: Path, stream: io.TextIOBase) -> int:
    """Read up to @data; return the number of the next line."""
    header: dict[str, str] = {}
    for line, text in enumerate(stream, 1):
        if not text.strip() or text.lstrip().startswith(COMMENTS):
            continue
        key, *values = text.lower().split()
        if key == "@data":
            if header.get("@timestamps", "false").startswith("true"):
                raise DataError(f"{path}: it has time stamps; only evenly spaced time steps can be read")
            if not any(header.get(k, "false").startswith("true") for k in LABELS):
                raise DataError(f"{path}: it has neither @classLabel true nor @targetLabel true: no labels")
            return line + 1
        if not key.startswith("@"):
            raise DataError(f"{path}, line {line}: a line of the header must start with @, # or %")
        header[key] = values[0] if values else "true"
    raise DataError(f"{path}: no line @data; is it a .ts file?")


def _read_series(dimensions: list[str], where: str, problems: Problems) -> np.ndarray | None:
    """Return the values (T, F) of an example; None, and a problem, if they are not valid."""
    values = [_read_values(part, f"{where}, dimension {i}", problems) for i, part in enumerate(dimensions, 1)]
    valid = [value for value in values if value is not None]
    if len({len(value) for value in valid}) > 1:
        lengths = ", ".join(str(len(value)) for value in valid)
        problems.add(where, f"its dimensions differ in length: {lengths}")
        return None
    return np.stack(valid, axis=1) if len(valid) == len(dimensions) else None


def _read_values(text: str, where: str, problems: Problems) -> np.ndarray | None:
    fields = text.split(",")
    try:
        values = np.array(fields, dtype=np.float32)
        bad = np.flatnonzero(~np.isfinite(values)).tolist()
    except ValueError:
        bad = [i for i, field in enumerate(fields) if not _is_finite(field)]
    if not bad:
        return values
    kind = "missing" if fields[bad[0]].strip() in ("?", "") else "not a finite number"
    more = f" (and {len(bad) - 1} more in this dimension)" if len(bad) > 1 else ""
    problems.add(f"{where}, step {bad[0] + 1}", f"{fields[bad[0]][:20]!r} is {kind}{more}")
    return None


def _is_finite(field: str) -> bool:
    try:
        return bool(np.isfinite(np.float32(field)))
    except ValueError:
        return False
