"""Tables that people bring, read row by row: CSV, TSV and JSONL, each also as .gz.

Nothing is skipped and nothing guessed: what is wrong is gathered from the whole file, the first five told
with file, row and column, and the count of all. Rows count from 1 and leave the header out; lines are those
of the file, which differ where a quoted field holds line breaks. Only one row is held at a time.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from gatescope.components import nearest
from gatescope.data.errors import DataError

SHOWN = 5
FORMATS = {".csv": ",", ".tsv": "\t", ".jsonl": ""}
"""Suffixes, and the delimiter of each that has one."""


@dataclass
class Problems:
    """What is wrong with what is read: the first five in words, the rest counted.

    As a context it raises DataError at its end if anything was added.
    """

    path: str | Path
    shown: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, where: str, what: str) -> None:
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(f"{where}: {what}" if where else what)

    def add_all(self, places: Sequence[str], count: int, what: str) -> None:
        """`count` problems of one kind, of which `places` holds the first."""
        for place in places:
            self.add(place, what)
        self.count += count - len(places)

    def check(self) -> None:
        """
        Raises:
            DataError: something was added.
        """
        if self.count == 1:
            raise DataError(f"{self.path}: {self.shown[0]}")
        if self.count:
            more = f", the first {SHOWN}" if self.count > SHOWN else ""
            listed = "".join(f"\n  {problem}" for problem in self.shown)
            raise DataError(f"{self.path}: {self.count} problems{more}:{listed}")


class Row(NamedTuple):
    """The chosen fields of a row, in the order asked for, and where it stands."""

    where: str
    values: list[Any]


@dataclass(frozen=True)
class Table:
    """A file of rows.

    Args:
        path: of the file; its suffix tells the format.
        columns: names of those that are read; without `header` their positions, "1" for the first.
        header: whether the first row of a CSV or TSV holds the names.
        encoding: of the text; a byte order mark is dropped.
    """

    path: Path
    columns: tuple[str, ...]
    header: bool = True
    encoding: str = "utf-8"

    def rows(self, problems: Problems) -> Iterator[Row]:
        """Rows that are whole; what is wrong with the others goes to `problems`.

        Raises:
            DataError: the file cannot be read at all, or lacks a column.
        """
        suffix = table_suffix(self.path)
        with opened(self.path, self.encoding) as stream:
            if suffix == ".jsonl":
                yield from self._objects(stream, problems)
            else:
                yield from self._records(stream, FORMATS[suffix], problems)

    def _records(self, stream: io.TextIOBase, delimiter: str, problems: Problems) -> Iterator[Row]:
        with unlimited_fields():
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            first = _next(reader, problems, "the header")
            if first is None:
                problems.check()
                raise DataError(f"{self.path}: the file is empty")
            names = first if self.header else [str(i + 1) for i in range(len(first))]
            places = self._places(names)
            number, line = 0, 1
            record: list[str] | None = first
            if self.header:
                line = reader.line_num + 1
                record = _next(reader, problems, f"row 1 (line {line})")
            while record is not None:
                if record:  # a blank line is no row
                    number += 1
                    where = f"row {number} (line {line})"
                    if len(record) != len(names):
                        problems.add(where, f"{len(record)} fields, and {len(names)} are due")
                    else:
                        yield from self._sound(Row(where, [record[i] for i in places]), problems)
                line = reader.line_num + 1
                record = _next(reader, problems, f"row {number + 1} (line {line})")
            if not number and not problems.count:
                raise DataError(f"{self.path}: a header without rows")

    def _sound(self, row: Row, problems: Problems) -> Iterator[Row]:
        broken = [
            column
            for column, value in zip(self.columns, row.values, strict=True)
            if isinstance(value, str) and not is_text(value)
        ]
        for column in broken:
            problems.add(
                f"{row.where}, column {column}",
                f"not {self.encoding}; name the file's encoding, such as data.encoding=latin-1",
            )
        if not broken:
            yield row

    def _places(self, names: Sequence[str]) -> list[int]:
        doubled = [name for name in self.columns if names.count(name) > 1]
        if doubled:
            raise DataError(f"{self.path}: the header holds column {doubled[0]!r} twice")
        return [names.index(self._known(name, names)) for name in self.columns]

    def _known(self, name: str, names: Sequence[str]) -> str:
        if name in names:
            return name
        close = nearest(name, names)
        hint = f", did you mean {close!r}?" if close else ";"
        shown = ", ".join(n if len(n) <= 40 else f"{n[:40]}…" for n in names[:20])
        raise DataError(f"{self.path}: no column {name!r}{hint} It has: {shown}")

    def _objects(self, stream: io.TextIOBase, problems: Problems) -> Iterator[Row]:
        number = 0
        for line, text in enumerate(stream, 1):
            if not text.strip():
                continue
            number += 1
            where = f"row {number} (line {line})"
            try:
                record = json.loads(text)
            except ValueError as error:  # RecursionError is no ValueError
                problems.add(where, f"no JSON: {error}")
                continue
            except RecursionError:
                problems.add(where, "no JSON that can be read: nested too deep")
                continue
            if not isinstance(record, dict):
                problems.add(where, f"a JSON object is due, this is a {type(record).__name__}")
                continue
            lacking = [name for name in self.columns if name not in record]
            if lacking and number == 1:
                self._known(lacking[0], list(record))
            for name in lacking:
                problems.add(f"{where}, column {name}", "missing")
            if not lacking:
                yield from self._sound(Row(where, [record[name] for name in self.columns]), problems)
        if not number:
            raise DataError(f"{self.path}: the file is empty")


def _next(reader: Any, problems: Problems, where: str) -> list[str] | None:
    """The next record; None at the end, or where the rest cannot be told apart into rows."""
    try:
        return next(reader, None)
    except csv.Error as error:
        rule = "within quotes a quote is written twice, and what opens with a quote ends in one"
        problems.add(where, f"{error}; {rule}")
        return None


def table_suffix(path: Path) -> str:
    """.csv, .tsv or .jsonl.

    Raises:
        DataError: another.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    suffix = {".ndjson": ".jsonl", ".tab": ".tsv"}.get(suffix, suffix)
    if suffix not in FORMATS:
        known = ", ".join(FORMATS)
        raise DataError(f"{path}: its name must end in one of {known}, with or without .gz after it")
    return suffix


@contextmanager
def opened(path: Path, encoding: str = "utf-8") -> Iterator[io.TextIOBase]:
    """The text of a file, unpacked if its name ends in .gz, line ends as they are. A byte that is no text in
    this encoding becomes a surrogate, which `is_text` tells.

    Raises:
        DataError: no such file or encoding, or a torn archive; also while it is read.
    """
    try:
        name = codecs.lookup(encoding).name
    except LookupError as error:
        raise DataError(f"data.encoding: {encoding} is no encoding that Python knows") from error
    name = "utf-8-sig" if name == "utf-8" else name
    open_file: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with open_file(path, "rt", encoding=name, errors="surrogateescape", newline="") as file:
            yield file
    except UnicodeError as error:  # an encoding that knows no surrogates
        raise DataError(f"{path}: not {encoding}: {error}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the archive cannot be unpacked: {error}") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: a file is due, this is a folder") from error
    except PermissionError as error:
        raise DataError(f"{path}: may not be read") from error


def is_text(value: str) -> bool:
    """Whether it holds no surrogate: a byte that could not be decoded, or half a pair that JSON spells."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def unlimited_fields() -> Iterator[None]:
    """csv refuses fields of more than 128 KB, and a text may be longer."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
