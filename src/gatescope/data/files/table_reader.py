"""Tables of the user, read row by row: delimited text, JSON and Parquet.

No row is skipped silently: the problems of the whole file are collected, and one message lists the first
five with row and column. Rows are counted from 1, without the header; lines are those of the file, which
differ from rows if a quoted field holds line breaks. Only one row is in memory at a time, of Parquet some
thousands; a .json file is read as a whole.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from gatescope.components import nearest
from gatescope.data.errors import DataError, Problems
from gatescope.data.files.number_form import in_form, number_reader
from gatescope.data.files.table_form import (
    DELIMITERS,
    SAMPLE_SIZE,
    Column,
    TableForm,
    decimal_comma_columns,
    find_delimiter,
    table_suffix,
    unlimited_field_size,
)
from gatescope.data.text_io import is_valid_text, open_bytes, open_text

NO_PYARROW = (
    "Parquet is read by pyarrow, which is not installed: pip install -c constraints.txt -e '.[parquet]'"
)


SOME_ROWS = 4096
"""Number of rows of a Parquet file in memory."""


class Row(NamedTuple):
    """A row: its place in the file, and the values of the selected columns."""

    where: str
    values: list[Any]


class _Record(NamedTuple):
    """A row as the file has it: its place, and all values by position or by name."""

    where: str
    values: list[Any] | dict[str, Any]


class _Content(NamedTuple):
    """The columns and records of an open file.

    Attributes:
        names: Names of the columns; of a file without names their positions from "1".
        records: The records.
        unnamed: Whether no column of the format can have a name, as in JSON arrays.
        commas: Indices of the columns with decimal commas.
    """

    names: tuple[str, ...]
    records: Iterator[_Record]
    unnamed: bool = False
    commas: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Table:
    """A file of rows.

    Args:
        path: of the file; its suffix determines the format.
        columns: names of the columns to read, or their positions from 1; None for all.
        form: header, encoding, delimiter and quotes.
        numbers: those of `columns` that hold numbers, which are read in the form of `form`.
        distinct: those of `columns` that must not be one column, such as a text and its label.
    """

    path: Path
    columns: tuple[Column, ...] | None = None
    form: TableForm = field(default_factory=TableForm)
    numbers: tuple[Column, ...] = ()
    distinct: tuple[Column, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Return the names of all columns; of a file without names their positions from "1".

        Raises:
            DataError: the file cannot be read, or is empty.
        """
        problems = Problems(self.path)
        with self._open(problems) as content:
            problems.check()
            return content.names

    def is_unnamed(self) -> bool:
        """Return whether no column can have a name, because rows are JSON arrays."""
        with self._open(Problems(self.path)) as content:
            return content.unnamed

    def rows(self, problems: Problems) -> Iterator[Row]:
        """Yield the valid rows; add a problem for each of the others.

        Raises:
            DataError: the file cannot be read at all, or lacks a column.
        """
        with self._open(problems) as content:
            if not content.names:  # no row could be read, and the problems say why
                return
            positions = self._positions(content)
            self._check_distinct(positions, content.names)
            names = [content.names[i] for i in positions]
            asked = self.columns or content.names
            read = number_reader(self.form.decimal, self.form.thousands)
            chosen = [k for k, one in enumerate(asked) if one in self.numbers]
            numbers = chosen if read else [k for k in chosen if positions[k] in content.commas]
            for record in content.records:
                values = _selected(record, positions, content.names, problems)
                if values is None:
                    continue
                read_numbers = {k: in_form(values[k], read) for k in numbers}
                for k, (number, problem) in read_numbers.items():
                    values[k] = number
                    if problem:
                        problems.add(f"{record.where}, column {names[k]}", problem)
                if not any(problem for _, problem in read_numbers.values()):
                    yield from self._valid(Row(record.where, values), names, problems)

    @contextmanager
    def _open(self, problems: Problems) -> Iterator[_Content]:
        suffix = table_suffix(self.path)
        if suffix == ".parquet":
            with open_bytes(self.path) as file:
                yield _parquet(self.path, file)
            return
        with open_text(self.path, self.form.encoding) as stream:
            if suffix in (".json", ".jsonl"):
                values = _json_values(self.path, stream, suffix, problems)
                yield _with_names(self.path, values, problems)
            else:
                with unlimited_field_size():
                    yield self._delimited(stream, suffix, problems)

    def _delimited(self, stream: io.TextIOBase, suffix: str, problems: Problems) -> _Content:
        """Return the content of delimited text."""
        sample = stream.readlines(SAMPLE_SIZE)
        delimiter = find_delimiter(sample, suffix, self.form)
        dialect = self.form.dialect(delimiter)
        commas = decimal_comma_columns(sample, dialect) if self.numbers else frozenset()
        reader = csv.reader(chain(sample, stream), strict=True, **dialect)
        first = _next_record(reader, problems, "the header" if self.form.header else "row 1 (line 1)")
        if first is None:
            problems.check()
            raise DataError(f"{self.path}: the file is empty")
        if self.form.header:
            return _Content(tuple(first), self._delimited_records(reader, None, problems), commas=commas)
        names = tuple(str(i + 1) for i in range(len(first)))
        return _Content(names, self._delimited_records(reader, first, problems), commas=commas)

    def _delimited_records(
        self, reader: Any, first: list[str] | None, problems: Problems
    ) -> Iterator[_Record]:
        """Yield the records of delimited text; `first` is one that has been read already."""
        number, line = 0, 1 if first is not None else reader.line_num + 1
        record = first if first is not None else _next_record(reader, problems, f"row 1 (line {line})")
        while record is not None:
            if record:  # a blank line is not a row
                number += 1
                yield _Record(f"row {number} (line {line})", record)
            line = reader.line_num + 1
            record = _next_record(reader, problems, f"row {number + 1} (line {line})")
        if not number and not problems.count:
            raise DataError(f"{self.path}: a header without rows")

    def _valid(self, row: Row, names: Sequence[str], problems: Problems) -> Iterator[Row]:
        """Yield a row if all its texts could be decoded, else add problems."""
        undecodable = [
            column
            for column, value in zip(names, row.values, strict=True)
            if isinstance(value, str) and not is_valid_text(value)
        ]
        for column in undecodable:
            problems.add(
                f"{row.where}, column {column}",
                f"not {self.form.encoding}; give the file's encoding, such as data.encoding=latin-1",
            )
        if not undecodable:
            yield row

    def _positions(self, content: _Content) -> list[int]:
        """Return the index of each selected column."""
        names, columns = content.names, self.columns
        if columns is None:
            return list(range(len(names)))
        duplicates = [name for name in columns if names.count(str(name)) > 1]
        if duplicates:
            raise DataError(f"{self.path}: the header holds column {duplicates[0]!r} twice")
        if content.unnamed and len(columns) == len(names) and not any(str(c).isdecimal() for c in columns):
            return list(range(len(names)))  # in the order in which they are asked for
        return [self._position(str(name), names) for name in columns]

    def _check_distinct(self, positions: Sequence[int], names: Sequence[str]) -> None:
        """Raise if two of `distinct` are one column, such as its name and its position."""
        found: dict[int, Column] = {}
        for column, position in zip(self.columns or (), positions, strict=False):
            if column not in self.distinct:
                continue
            if found.setdefault(position, column) != column:
                both = f"{found[position]} and {column}"
                raise DataError(f"{self.path}: {both} are one column, {names[position]!r}; give two columns")

    def _position(self, name: str, names: Sequence[str]) -> int:
        index = column_index(name, names)
        if index is not None:
            return index
        shown = ", ".join(n if len(n) <= 40 else f"{n[:40]}…" for n in names[:20])
        if name.isdecimal():
            counted = "positions are counted from 1" if int(name) == 0 else f"there are {len(names)}"
            raise DataError(f"{self.path}: no column {name}, {counted}: {shown}")
        close = nearest(name, names)
        hint = f", did you mean {close!r}?" if close else ";"
        is_several = len(names) == 1 and any(mark in names[0] for mark in DELIMITERS.values())
        remedy = "; if these are several columns, give data.delimiter" if is_several else ""
        raise DataError(f"{self.path}: no column {name!r}{hint} It has: {shown}{remedy}")


def _selected(
    record: _Record, positions: Sequence[int], names: Sequence[str], problems: Problems
) -> list[Any] | None:
    """Return the selected values of a record; None, and problems, if it lacks columns."""
    values = record.values
    if isinstance(values, dict):
        missing = [names[i] for i in positions if names[i] not in values]
        for name in missing:
            problems.add(f"{record.where}, column {name}", "missing")
        return None if missing else [values[names[i]] for i in positions]
    if len(values) != len(names):
        problems.add(record.where, f"expected {len(names)} fields, found {len(values)}")
        return None
    return [values[i] for i in positions]


def column_index(column: str, names: Sequence[str]) -> int | None:
    """Return the index of a column, given by its name or its position from 1; None if there is none."""
    if column in names:
        return names.index(column)
    if column.isdecimal() and 1 <= int(column) <= len(names):
        return int(column) - 1
    return None


def _next_record(reader: Any, problems: Problems, where: str) -> list[str] | None:
    """Return the next record; None at the end, or if the rest cannot be divided into rows."""
    try:
        return next(reader, None)
    except csv.Error as error:
        rule = "a quoted field must end with a quote, and a quote within it is written twice"
        problems.add(where, f"{error}; {rule}; data.quoting=false reads quotes as other characters")
        return None


def _with_names(path: Path, records: Iterator[_Record], problems: Problems) -> _Content:
    """Return records with the names of the first: its keys, or the positions of its values.

    Raises:
        DataError: there is no record.
    """
    first = next(records, None)
    if first is None:
        if problems.count:
            return _Content((), records)
        raise DataError(f"{path}: the file is empty")
    keys = first.values
    names = tuple(keys) if isinstance(keys, dict) else tuple(str(i + 1) for i in range(len(keys)))
    if not names:
        raise DataError(f"{path}: {first.where}: no columns")
    return _Content(names, _alike(type(keys), chain([first], records), problems), isinstance(keys, list))


def _alike(kind: type, records: Iterator[_Record], problems: Problems) -> Iterator[_Record]:
    """Yield the records of the kind of the first, objects or arrays; add a problem for each of the others."""
    for record in records:
        if isinstance(record.values, kind):
            yield record
        else:
            problems.add(record.where, f"expected {_JSON[kind]}, found a {type(record.values).__name__}")


_JSON: dict[type, str] = {dict: "a JSON object", list: "a JSON array"}


def _json_values(path: Path, stream: io.TextIOBase, suffix: str, problems: Problems) -> Iterator[_Record]:
    """Yield the objects or arrays of a JSON array, or of the lines of a file."""
    if suffix == ".json":
        text = stream.read()
        if _is_one_array(text):
            yield from _json_array(path, text, problems)
            return
        stream = io.StringIO(text)
    number = 0
    for line, text in enumerate(stream, 1):
        if text.strip():
            number += 1
            where = f"row {number} (line {line})"
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as error:
                problems.add(where, _not_json(error, suffix))
            else:
                yield from _json_record(where, value, problems)


def _is_one_array(text: str) -> bool:
    """Return whether a text is one JSON array, and not one on each line."""
    start = text.lstrip()
    if not start.startswith("["):
        return False
    line, _, rest = start.partition("\n")
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return True
    return not rest.strip()


def _json_array(path: Path, text: str, problems: Problems) -> Iterator[_Record]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: {_not_json(error, '.json')}") from error
    for number, value in enumerate(values, 1):
        yield from _json_record(f"row {number}", value, problems)


def _json_record(where: str, value: Any, problems: Problems) -> Iterator[_Record]:
    if isinstance(value, dict | list):
        yield _Record(where, value)
    else:
        problems.add(where, f"expected a JSON object or array, found a {type(value).__name__}")


def _not_json(error: Exception, suffix: str) -> str:
    if isinstance(error, RecursionError):
        return "not readable as JSON: nested too deeply"
    rule = "; a .json file holds an array of objects or arrays, or one of them a line"
    return f"not JSON: {error}{rule if suffix == '.json' else ''}"


def _parquet(path: Path, file: io.BufferedIOBase) -> _Content:
    """Return the content of a Parquet file.

    Raises:
        DataError: pyarrow is not installed, or cannot read the file.
    """
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise DataError(f"{path}: {NO_PYARROW}") from error
    with _parquet_errors(path):
        table = ParquetFile(file)
    if not table.metadata.num_rows:
        raise DataError(f"{path}: the file is empty")
    return _Content(tuple(table.schema_arrow.names), _parquet_records(path, table))


def _parquet_records(path: Path, table: Any) -> Iterator[_Record]:
    number = 0
    with _parquet_errors(path):
        for batch in table.iter_batches(SOME_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield _Record(f"row {number}", row)


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    """Convert pyarrow's errors on a damaged file into a `DataError`."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not readable as Parquet: {str(error).splitlines()[0]}") from error
