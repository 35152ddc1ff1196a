"""Rows of a user's table for a trained model: the columns are found as in the training of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gatescope.analysis.commands import UsageError
from gatescope.data.errors import DataError, Problems
from gatescope.data.files.table_reader import Row, Table, column_index
from gatescope.tracking.runfile import read_run
from gatescope.trained import Trained

TEXT_KEYS, TARGET_KEYS = ("text", "source"), ("label", "target")
"""Keys of `data` that name the column of the texts, and that of the labels, values or targets."""


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


def text_position(table: Table, names: Sequence[str], column: str) -> int:
    """Return the index of the column of the texts.

    Raises:
        DataError: There is no such column.
    """
    index = column_index(column, names)
    if index is not None:
        return index
    if len(names) <= 2 and table.is_unnamed():
        return 0  # as in training: a text, or a text and its label
    hint = "choose by column=NAME" if len(names) > 1 else "choose by column=NAME, or give delimiter=…"
    raise DataError(f"{table.path}: no column {column!r}; it has {', '.join(names[:20])}: {hint}")


def checked_rows(table: Table) -> Iterator[Row]:
    """Yield the rows of a table, and end at the first that cannot be read.

    Raises:
        DataError: A row cannot be read; the message has its number.
    """
    problems = Problems(table.path)
    for row in table.rows(problems):
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
