"""Where records go: a directory that can be written, held by one process at a time. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class RecordError(OSError):
    """The record cannot be written; the message names the directory and the remedy."""


def make_writable(directory: Path) -> None:
    """Makes the directory and proves that a file can be made in it.

    Raises:
        RecordError: it cannot be.
    """
    probe = directory / ".writable"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(
            f"cannot write to {directory}: {error.strerror}; "
            "choose another place with root=/path (or the environment variable RUNS_DIR)"
        ) from error


@contextmanager
def held(directory: Path) -> Iterator[bool]:
    """Yields whether this process now holds the run; the system lets go of it when the process dies."""
    lock = FileLock(directory / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
