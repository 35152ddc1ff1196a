"""The .ts format of the time series archives (Bagnall et al. 2018), as sktime writes it.

A header of lines @key value up to @data, then an example a line: its dimensions parted by colons, the values
of each by commas, and the label or target last. What is wrong is told by line, dimension and step, which
sktime's own reader does not.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gatescope.data.errors import DataError
from gatescope.data.rows import Problems, opened


class Example(NamedTuple):
    """Values (T, F) float32, what they are to be answered with, and where they stand."""

    values: np.ndarray
    answer: str
    where: str


def read_ts(path: Path, problems: Problems) -> Iterator[Example]:
    """Examples that are whole; what is wrong with the others goes to `problems`.

    Raises:
        DataError: no file of this format, or one without labels or with time stamps.
    """
    with opened(path) as stream:
        start = _header(path, stream)
        number, dimensions = 0, 0
        for line, text in enumerate(stream, start):
            if not text.strip() or text.startswith("#"):
                continue
            number += 1
            where = f"row {number} (line {line})"
            *series, answer = text.strip().split(":")
            dimensions = dimensions or len(series)
            if len(series) != dimensions or not series:
                problems.add(where, f"{len(series)} dimensions, and {dimensions or 'some'} are due")
                continue
            values = [_values(part, f"{where}, dimension {i}", problems) for i, part in enumerate(series, 1)]
            whole = [value for value in values if value is not None]
            lengths = {len(value) for value in whole}
            if len(lengths) > 1:
                told = ", ".join(str(len(value)) for value in whole)
                problems.add(where, f"its dimensions have unlike lengths: {told}")
            elif len(whole) == len(series):
                yield Example(np.stack(whole, axis=1), answer, where)
        if not number and not problems.count:
            raise DataError(f"{path}: no example after @data")


def _header(path: Path, stream: io.TextIOBase) -> int:
    """Reads up to @data; the number of the line after it."""
    told: dict[str, str] = {}
    for line, text in enumerate(stream, 1):
        key, _, value = text.strip().lower().partition(" ")
        if key == "@data":
            if told.get("@timestamps", "false").startswith("true"):
                raise DataError(f"{path}: it has time stamps; series of evenly spaced steps are due")
            if not any(told.get(k, "").startswith("true") for k in ("@classlabel", "@targetlabel")):
                raise DataError(f"{path}: it has neither @classLabel true nor @targetLabel true: no answers")
            return line + 1
        if key.startswith("@"):
            told[key] = value.strip()
        elif key and not key.startswith("#"):
            raise DataError(f"{path}, line {line}: a line of the header starts with @ or #")
    raise DataError(f"{path}: no line @data: is it a .ts file?")


def _values(text: str, where: str, problems: Problems) -> np.ndarray | None:
    fields = text.split(",")
    try:
        values = np.array(fields, dtype=np.float32)
        bad = np.flatnonzero(~np.isfinite(values)).tolist()
    except ValueError:
        bad = [i for i, field in enumerate(fields) if not _is_finite(field)]
    if not bad:
        return values
    kind = "missing" if fields[bad[0]].strip() in ("?", "") else "no finite number"
    more = f" (and {len(bad) - 1} more in this dimension)" if len(bad) > 1 else ""
    problems.add(f"{where}, step {bad[0] + 1}", f"{fields[bad[0]][:20]!r} is {kind}{more}")
    return None


def _is_finite(field: str) -> bool:
    try:
        return bool(np.isfinite(np.float32(field)))
    except ValueError:
        return False
