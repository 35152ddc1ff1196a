"""Tables of the user, read row by row: CSV, TSV and JSONL, each also as .gz.

No row is skipped silently: the problems of the whole file are collected, and one message lists the first
five with row and column. Rows are counted from 1, without the header; lines are those of the file, which
differ from rows if a quoted field holds line breaks. Only one row is in memory at a time.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gatescope.components import nearest
from gatescope.data.errors import DataError, Problems
from gatescope.data.text_io import is_valid_text, open_text

DELIMITERS = {".csv": ",", ".tsv": "\t", ".jsonl": ""}
"""Suffixes of the formats, and the delimiter of those that have one."""


class Row(NamedTuple):
    """A row: its place in the file, and the values of the selected columns."""

    where: str
    values: list[Any]


@dataclass(frozen=True)
class Table:
    """A file of rows.

    Args:
        path: of the file; its suffix determines the format.
        columns: names of the columns to read; without `header` their positions, "1" for the first.
        header: whether the first row of a CSV or TSV holds the names.
        encoding: of the text; a byte order mark is dropped.
    """

    path: Path
    columns: tuple[str, ...]
    header: bool = True
    encoding: str = "utf-8"

    def rows(self, problems: Problems) -> Iterator[Row]:
        """Yield the valid rows; add a problem for each of the others.

        Raises:
            DataError: the file cannot be read at all, or lacks a column.
        """
        suffix = table_suffix(self.path)
        with open_text(self.path, self.encoding) as stream:
            if suffix == ".jsonl":
                yield from self._json_rows(stream, problems)
            else:
                yield from self._csv_rows(stream, DELIMITERS[suffix], problems)

    def _csv_rows(self, stream: io.TextIOBase, delimiter: str, problems: Problems) -> Iterator[Row]:
        with unlimited_field_size():
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            first = _next_record(reader, problems, "the header")
            if first is None:
                problems.check()
                raise DataError(f"{self.path}: the file is empty")
            names = first if self.header else [str(i + 1) for i in range(len(first))]
            positions = self._positions(names)
            number, line = 0, 1
            record: list[str] | None = first
            if self.header:
                line = reader.line_num + 1
                record = _next_record(reader, problems, f"row 1 (line {line})")
            while record is not None:
                if record:  # a blank line is not a row
                    number += 1
                    where = f"row {number} (line {line})"
                    if len(record) != len(names):
                        problems.add(where, f"expected {len(names)} fields, found {len(record)}")
                    else:
                        yield from self._valid(Row(where, [record[i] for i in positions]), problems)
                line = reader.line_num + 1
                record = _next_record(reader, problems, f"row {number + 1} (line {line})")
            if not number and not problems.count:
                raise DataError(f"{self.path}: a header without rows")

    def _json_rows(self, stream: io.TextIOBase, problems: Problems) -> Iterator[Row]:
        number = 0
        for line, text in enumerate(stream, 1):
            if not text.strip():
                continue
            number += 1
            where = f"row {number} (line {line})"
            record = _json_object(text, where, problems)
            if record is None:
                continue
            missing = [name for name in self.columns if name not in record]
            if missing and number == 1:
                self._position(missing[0], list(record))
            for name in missing:
                problems.add(f"{where}, column {name}", "missing")
            if not missing:
                yield from self._valid(Row(where, [record[name] for name in self.columns]), problems)
        if not number:
            raise DataError(f"{self.path}: the file is empty")

    def _valid(self, row: Row, problems: Problems) -> Iterator[Row]:
        """Yield a row if all its texts could be decoded, else add problems."""
        undecodable = [
            column
            for column, value in zip(self.columns, row.values, strict=True)
            if isinstance(value, str) and not is_valid_text(value)
        ]
        for column in undecodable:
            problems.add(
                f"{row.where}, column {column}",
                f"not {self.encoding}; give the file's encoding, such as data.encoding=latin-1",
            )
        if not undecodable:
            yield row

    def _positions(self, names: Sequence[str]) -> list[int]:
        duplicates = [name for name in self.columns if names.count(name) > 1]
        if duplicates:
            raise DataError(f"{self.path}: the header holds column {duplicates[0]!r} twice")
        return [self._position(name, names) for name in self.columns]

    def _position(self, name: str, names: Sequence[str]) -> int:
        if name in names:
            return names.index(name)
        close = nearest(name, names)
        hint = f", did you mean {close!r}?" if close else ";"
        shown = ", ".join(n if len(n) <= 40 else f"{n[:40]}…" for n in names[:20])
        raise DataError(f"{self.path}: no column {name!r}{hint} It has: {shown}")


def _next_record(reader: Any, problems: Problems, where: str) -> list[str] | None:
    """Return the next record; None at the end, or if the rest cannot be divided into rows."""
    try:
        return next(reader, None)
    except csv.Error as error:
        rule = "a quoted field must end with a quote, and a quote within it is written twice"
        problems.add(where, f"{error}; {rule}")
        return None


def _json_object(text: str, where: str, problems: Problems) -> dict[str, Any] | None:
    try:
        record = json.loads(text)
    except RecursionError:
        problems.add(where, "not readable as JSON: nested too deeply")
        return None
    except ValueError as error:
        problems.add(where, f"not JSON: {error}")
        return None
    if not isinstance(record, dict):
        problems.add(where, f"expected a JSON object, found a {type(record).__name__}")
        return None
    return record


def table_suffix(path: Path) -> str:
    """Return .csv, .tsv or .jsonl.

    Raises:
        DataError: the file has another suffix.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    suffix = {".ndjson": ".jsonl", ".tab": ".tsv"}.get(suffix, suffix)
    if suffix not in DELIMITERS:
        known = ", ".join(DELIMITERS)
        raise DataError(f"{path}: its name must end in one of {known}, optionally followed by .gz")
    return suffix


@contextmanager
def unlimited_field_size() -> Iterator[None]:
    """Allow fields of any size: csv refuses fields of more than 128 KB, and a text may be longer."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
