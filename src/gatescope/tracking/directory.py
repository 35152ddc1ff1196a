"""Files of a run: durable writes, one process at a time. This module does not import torch."""

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
"""Folder of a study with a link to each run, by its name on W&B, such as "gru-none lr=0.003 s0"."""
MAX_LINK_LENGTH = 120
"""Largest number of characters in the name of such a link."""


class RecordError(OSError):
    """The record of a run cannot be written; the message contains the path and the remedy."""

    @classmethod
    def while_running(cls, path: Path, error: OSError) -> RecordError:
        """Return the error for a file that could not be written during a run."""
        return cls(
            f"cannot write {path}: {error.strerror}; earlier rows and checkpoints are kept: "
            "free disk space and repeat the command, which continues from the last checkpoint"
        )


def ensure_writable(directory: Path) -> None:
    """Create a directory and check that files can be created in it.

    Raises:
        RecordError: The directory cannot be created or written.
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


def write_atomically(path: Path, content: str | bytes | memoryview, previous: Path | None = None) -> None:
    """Write a file such that readers see the old content or the new one, even after a power failure.

    Args:
        path: The file.
        content: Text, written as UTF-8, or bytes.
        previous: Path to which an existing file is moved first.

    Raises:
        RecordError: The file cannot be written; the old one still exists.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            path.replace(previous)
        _replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise RecordError.while_running(path, error) from error


def _replace(source: Path, target: Path) -> None:
    """Rename a file and wait until the new name is on the disk."""
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def link_by_name(directory: Path, name: str) -> None:
    """Create a link to a run's directory under a readable name, in `by_name` next to it.

    If another run of the study has the same name, the last part of the run's id is appended. Nothing happens
    on a file system without links.

    Args:
        directory: Directory of the run.
        name: Name of the run.
    """
    folder, target = directory.parent / BY_NAME, Path("..", directory.name)
    text = re.sub(r"[/\0]", "_", name)[:MAX_LINK_LENGTH]
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        for link in (folder / text, folder / f"{text} {directory.name.rpartition('-')[2]}"):
            if link.is_symlink() and not link.exists():  # its run was deleted
                link.unlink()
            if link.is_symlink() and link.readlink() == target:
                return
            if not link.exists():
                link.symlink_to(target)
                return


@contextmanager
def run_lock(directory: Path, wait: bool = False) -> Iterator[bool]:
    """Lock a run for this process and yield whether it succeeded.

    The operating system releases the lock when the process ends.

    Args:
        directory: Directory of the run.
        wait: Wait until another process releases the lock, without a time limit.
    """
    lock = FileLock(directory / LOCK)
    try:
        if wait:
            lock.acquire(timeout=-1, poll_interval=0.5)
        else:
            lock.acquire(timeout=0.2, poll_interval=0.02)  # longer than `is_locked` holds it
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def is_locked(directory: Path) -> bool:
    """Return whether a live process has locked this run; a process that starts now is not disturbed."""
    try:
        with (directory / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the run was never started, or was deleted
        return False
    return False
