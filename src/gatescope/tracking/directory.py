"""Where records go: a directory that can be written, held by one process at a time. No torch here."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"
BY_NAME = "by_name"
"""Folder of a study with a link to each run under the name that W&B shows: "gru-none lr=0.003 s0"."""
LONGEST = 120
"""Characters of such a name."""


class RecordError(OSError):
    """The record cannot be written; the message names the directory and the remedy."""

    @classmethod
    def unwritten(cls, path: Path, error: OSError) -> RecordError:
        """For a file that could not be written while the run was under way."""
        return cls(
            f"cannot write {path}: {error.strerror}; what was recorded before is kept: "
            "make room, then the same command goes on from the last checkpoint"
        )


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


def write_atomically(path: Path, text: str) -> None:
    """Writes beside the file, to the disk, and renames: a reader sees the old text or the new, never half,
    after a loss of power too.

    Raises:
        RecordError: it cannot be written; the old text still stands.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        replace(aside, path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise RecordError.unwritten(path, error) from error


def replace(source: Path, target: Path) -> None:
    """Renames a file, and waits until the new name is on the disk."""
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def link_by_name(directory: Path, name: str) -> None:
    """Link a run's directory under a readable name, in `by_name` beside it.

    Where another run of the study has the name already, the last part of the run's id is added. A file system
    without links goes without.
    """
    folder, target = directory.parent / BY_NAME, Path("..", directory.name)
    text = re.sub(r"[/\0]", "_", name)[:LONGEST]
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        for link in (folder / text, folder / f"{text} {directory.name.rpartition('-')[2]}"):
            if link.is_symlink() and not link.exists():  # of a run that was removed
                link.unlink()
            if link.is_symlink() and link.readlink() == target:
                return
            if not link.exists():
                link.symlink_to(target)
                return


@contextmanager
def held(directory: Path, wait: bool = False) -> Iterator[bool]:
    """Yields whether this process now holds the run; the system lets go of it when the process dies.

    Args:
        wait: until another process lets go of it, however long that takes.
    """
    lock = FileLock(directory / LOCK)
    try:
        if wait:
            lock.acquire(timeout=-1, poll_interval=0.5)
        else:
            lock.acquire(timeout=0.2, poll_interval=0.02)  # longer than `is_held` takes to look
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def is_held(directory: Path) -> bool:
    """Whether a live process is at this run, without taking it from one that starts now."""
    try:
        with (directory / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # never begun, or gone
        return False
    return False
