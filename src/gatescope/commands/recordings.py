"""Recordings of a user's file or folder for a trained model, with their transcripts where needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gatescope.commands.text_rows import checked_rows
from gatescope.data.errors import DataError
from gatescope.data.files.table_reader import Table
from gatescope.data.files.transcripts import (
    AUDIO,
    PUNCTUATION,
    SUFFIXES,
    Columns,
    find_column,
    plain,
    read_transcripts,
)
from gatescope.trained import Trained


def recordings(trained: Trained, path: Path, column: str | None) -> Iterator[str]:
    """Yield the paths of recordings: of one file of sound, of a folder, or of a table.

    Args:
        trained: The model.
        path: The file of sound, folder or table.
        column: Column of the paths, in place of that in training.

    Raises:
        DataError: There are none.
    """
    if path.is_dir():
        found = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES]
        if not found:
            raise DataError(f"{path}: no recording ({', '.join(SUFFIXES)}) in this folder")
        yield from map(str, found)
    elif path.suffix.lower() in SUFFIXES:
        yield str(path)
    else:
        columns = columns_of(trained, column, None)
        table = Table(path)
        name = find_column(path, "column", columns.audio, AUDIO, table.names())
        folder = columns.folder_for(path)
        for row in checked_rows(Table(path, (name,))):
            yield str(folder / str(row.values[0]))


def transcribed(
    trained: Trained, path: Path, column: str | None, label: str | None
) -> Iterator[tuple[str, str]]:
    """Yield the path and the transcript of each recording of a table, or of a folder as LibriSpeech's.

    Args:
        trained: The model.
        path: The table or folder.
        column: Column of the paths, in place of that in training.
        label: Column of the transcripts, in place of that in training.

    Raises:
        DataError: A row is incomplete, or a recording does not exist.
    """
    data = trained.config.data
    lower, remove = bool(data.get("lower", True)), str(data.get("remove", PUNCTUATION))
    for one in read_transcripts(path, columns_of(trained, column, label), by_speaker=False):
        yield str(one.path), plain(one.text, lower, remove)


def columns_of(trained: Trained, column: str | None, label: str | None) -> Columns:
    """Return the columns of a table: the given ones, else those of the training."""
    data = trained.config.data
    return Columns(column or data.get("audio"), label or data.get("transcript"))
