"""Text files of the user, opened with one error message for each thing that can be wrong with them."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gatescope.data.errors import DataError


@contextmanager
def open_text(path: Path, encoding: str = "utf-8") -> Iterator[io.TextIOBase]:
    """Open a text file, decompressed if its name ends in .gz, with its line ends unchanged.

    A byte that cannot be decoded becomes a surrogate, which `is_valid_text` detects. A byte order mark of
    UTF-8 is dropped.

    Args:
        path: of the file.
        encoding: name of the encoding.

    Raises:
        DataError: there is no such file or encoding, or the archive is damaged; also while it is read.
    """
    try:
        name = codecs.lookup(encoding).name
    except LookupError as error:
        raise DataError(f"data.encoding: Python has no encoding {encoding}") from error
    name = "utf-8-sig" if name == "utf-8" else name
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with (
            _readable(path),
            opener(path, "rt", encoding=name, errors="surrogateescape", newline="") as file,
        ):
            yield file
    except UnicodeError as error:  # an encoding without surrogates
        raise DataError(f"{path}: not {encoding}: {error}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the archive cannot be decompressed: {error}") from error


@contextmanager
def open_bytes(path: Path) -> Iterator[io.BufferedReader]:
    """Open a binary file.

    Raises:
        DataError: there is no such file, or it cannot be opened.
    """
    with _readable(path), path.open("rb") as file:
        yield file


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Convert the system's errors on a file into a `DataError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: expected a file, this is a folder") from error
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read it") from error


def is_valid_text(value: str) -> bool:
    """Return whether a text holds no surrogate (an undecodable byte, or half a pair escaped in JSON)."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
