"""Rows of a user's table for a trained model: the columns are found as in the training of the model."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gatescope.analysis.commands import UsageError
from gatescope.data.errors import DataError, Problems
from gatescope.data.files.table_reader import DELIMITERS, Row, Table, table_suffix, unlimited_field_size
from gatescope.data.text_io import open_text
from gatescope.tracking.runfile import read_run
from gatescope.trained import Trained

TEXT_KEYS, TARGET_KEYS = ("text", "source"), ("label", "target")
"""Keys of `data` that name the column of the texts, and that of the labels, values or targets."""


@dataclass(frozen=True)
class Format:
    """The form of a table.

    Attributes:
        header: Whether the first row of a CSV or TSV holds the names of the columns.
        encoding: Encoding of the file.
    """

    header: bool
    encoding: str

    @classmethod
    def of(cls, config: DictConfig, header: bool | None, encoding: str | None) -> Format:
        """Return the form of the training file, except for what is given."""
        data = config.data
        trained_with = bool(data.get("header", True)), str(data.get("encoding", "utf-8"))
        return cls(
            trained_with[0] if header is None else header, trained_with[1] if encoding is None else encoding
        )


def check_reads_texts(trained: Trained) -> None:
    """Raise if a model reads no texts.

    Raises:
        UsageError: It reads features.
    """
    if trained.task.inputs != "tokens":
        raise UsageError(
            f"{trained.directory.name} reads series and not texts: use gatescope.load(run).predict(series)"
        )


def column_of(config: DictConfig, keys: Sequence[str], given: str | None) -> str:
    """Return the name of a column: the given one, else that of the training file, else the first key."""
    if given is not None:
        return given
    named = [config.data.get(key) for key in keys if config.data.get(key) is not None]
    return str(named[0]) if named else keys[0]


def target_columns(config: DictConfig, given: str | None) -> tuple[str, ...]:
    """Return the names of the columns of the targets: the given one, else those of the training file."""
    named = config.data.get("label")
    if given is None and OmegaConf.is_list(named):
        return tuple(str(name) for name in named)
    return (column_of(config, TARGET_KEYS, given),)


def column_names(path: Path, form: Format) -> tuple[str, ...]:
    """Return the names of the columns of a table; positions from "1" if it has no header.

    Raises:
        DataError: The file cannot be read, or is empty.
    """
    suffix = table_suffix(path)
    with open_text(path, form.encoding) as stream, unlimited_field_size():
        if suffix == ".jsonl":
            first = next((line for line in stream if line.strip()), "{}")
            try:
                names = list(json.loads(first))
            except ValueError as error:
                raise DataError(f"{path}: row 1: not JSON: {error}") from error
        else:
            names = next(csv.reader(stream, delimiter=DELIMITERS[suffix]), [])
    if not names:
        raise DataError(f"{path}: the file is empty")
    is_named = form.header or suffix == ".jsonl"
    return tuple(names) if is_named else tuple(str(i + 1) for i in range(len(names)))


def checked_rows(path: Path, columns: tuple[str, ...], form: Format) -> Iterator[Row]:
    """Yield the rows of a table, and end at the first that cannot be read.

    Raises:
        DataError: A row cannot be read; the message has its number.
    """
    problems = Problems(path)
    for row in Table(path, columns, form.header, form.encoding).rows(problems):
        problems.check()
        yield row
    problems.check()


def text_or_none(value: Any) -> str | None:
    """Return a text; None for anything else."""
    return value if isinstance(value, str) else None


def target_tokenizer(trained: Trained) -> str:
    """Return the name of the tokenizer of the targets of a transduction, as the record has it."""
    named = {"character": "code_points", "phoneme": "split"}.get(trained.task.target_unit)
    notes = read_run(trained.directory).get("task", {}).get("notes", {})
    return named or str(notes.get("target_tokenizer", "split"))
