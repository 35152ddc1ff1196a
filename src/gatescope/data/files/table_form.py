"""The form of a user's table: its format, and the delimiter, quotes, header and encoding of its text."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from gatescope.data.errors import DataError
from gatescope.data.files.number_form import DECIMAL_COMMA, Decimal, Thousands, number_reader

DEFAULT_DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
"""Suffixes of delimited text, and the delimiter of files in which none is found."""
SUFFIXES = (*DEFAULT_DELIMITERS, ".json", ".jsonl", ".parquet")
SYNONYMS = {".ndjson": ".jsonl", ".tab": ".tsv", ".pq": ".parquet"}
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""Names of the delimiters that are detected; most cannot be typed on a command line without quotes."""
AUTO = "auto"
SAMPLE_SIZE = 1 << 16
"""Number of characters at the start of a file from which the delimiter is detected."""
AGREEMENT = 0.5
"""Least share of the rows of the sample that a detected delimiter divides into as many fields as the first.
Sentences with commas, one a line, do not reach it."""


def _check_delimiter(value: str) -> str:
    if value == AUTO or value in DELIMITERS or (len(value) == 1 and value not in '"\r\n'):
        return value
    raise ValueError(f"{AUTO}, {', '.join(DELIMITERS)}, or one character")


Delimiter = Annotated[str, AfterValidator(_check_delimiter)]
"""auto, the name of a delimiter, or one character."""
Column = str | int
"""The name of a column, or its position from 1."""


@dataclass(frozen=True)
class TableForm:
    """The form of a table.

    Attributes:
        header: Whether the first row of delimited text holds the names of the columns.
        encoding: Encoding of the text; a byte order mark is dropped.
        delimiter: auto, the name of a delimiter, or one character.
        quoting: Whether a field may stand between quotes; if not, quotes are characters like any other.
        decimal: Mark before the decimals of numbers, as in `number_form`.
        thousands: Mark between their thousands.

    Raises:
        DataError: `decimal` and `thousands` are the same mark.
    """

    header: bool = True
    encoding: str = "utf-8"
    delimiter: str = AUTO
    quoting: bool = True
    decimal: Decimal = "auto"
    thousands: Thousands = "auto"

    def __post_init__(self) -> None:
        number_reader(self.decimal, self.thousands)

    @classmethod
    def of(cls, data: Mapping[str, Any], **given: Any) -> TableForm:
        """Return the form of the files of a config, except for what is given and not None.

        Args:
            data: The section `data` of the config.
            **given: Attributes in place of those of the config.
        """
        keys = [one.name for one in fields(cls)]
        trained = {key: data[key] for key in keys if data.get(key) is not None}
        return cls(**trained | {key: value for key, value in given.items() if value is not None})

    def dialect(self, delimiter: str) -> dict[str, Any]:
        """Return the arguments of `csv.reader`."""
        quoting = csv.QUOTE_MINIMAL if self.quoting else csv.QUOTE_NONE
        return {"delimiter": delimiter, "quoting": quoting}


def table_suffix(path: Path, known: Sequence[str] = SUFFIXES) -> str:
    """Return the suffix of a table without .gz, one of `known`.

    Raises:
        DataError: the file has another suffix.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    suffix = SYNONYMS.get(suffix, suffix)
    if suffix not in known or (suffix == ".parquet" and path.suffix == ".gz"):
        texts = ", ".join(name for name in known if name != ".parquet")
        other = ", or .parquet" if ".parquet" in known else ""
        raise DataError(f"{path}: its name must end in one of {texts}, optionally followed by .gz{other}")
    return suffix


def find_delimiter(lines: Sequence[str], suffix: str, form: TableForm) -> str:
    """Return the delimiter of a file: that of its form, else the one that divides all rows alike.

    `csv.Sniffer` is not used: it takes the commas of sentences, or of decimals, as the delimiter of a file
    without a header. Of several delimiters that divide the rows equally well the comma is the last choice.

    Args:
        lines: The first lines of the file; the last may be incomplete.
        suffix: Suffix of the file, whose delimiter is preferred.
        form: The form of the file.
    """
    default = DEFAULT_DELIMITERS[suffix]
    if form.delimiter != AUTO:
        return DELIMITERS.get(form.delimiter, form.delimiter)
    found = {delimiter: _agreement(lines, form.dialect(delimiter)) for delimiter in DELIMITERS.values()}
    likely = [name for name, share in found.items() if share > (0 if name == default else AGREEMENT)]
    return max(likely, key=lambda name: (found[name], name != ",", name == default), default=default)


def _agreement(lines: Sequence[str], dialect: Mapping[str, Any]) -> float:
    """Return the share of rows with as many fields as the first; 0 if that has one field."""
    try:
        counts = [len(row) for row in csv.reader(lines, **dialect) if row]
    except csv.Error:
        return 0
    complete = counts[:-1] if len(counts) > 2 else counts  # the sample may end within a row
    if not complete or complete[0] < 2:
        return 0
    return sum(count == complete[0] for count in complete) / len(complete)


def decimal_comma_columns(lines: Sequence[str], dialect: Mapping[str, Any]) -> frozenset[int]:
    """Return the columns in which these rows hold numbers with a decimal comma.

    There are none unless the delimiter is the semicolon, which spreadsheets write where the comma is that of
    decimals. With other delimiters 1,234 may be a thousand.

    Args:
        lines: The first lines of the file.
        dialect: Arguments of `csv.reader`.
    """
    if dialect["delimiter"] != ";":
        return frozenset()
    try:
        rows = list(csv.reader(lines, **dialect))
    except csv.Error:
        return frozenset()
    return frozenset(i for row in rows for i, value in enumerate(row) if DECIMAL_COMMA.fullmatch(value))


@contextmanager
def unlimited_field_size() -> Iterator[None]:
    """Allow fields of any size: csv refuses fields of more than 128 KB, and a text may be longer."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)
