"""Folders and files that nobody else may write: only from these are compiled code and arrays loaded."""

from __future__ import annotations

import grp
import logging
import os
import pwd
import stat
import tempfile
from functools import cache
from pathlib import Path

import platformdirs

log = logging.getLogger(__name__)


def writable_by_others(path: Path) -> str | None:
    """Return why another user could have written a file or folder, or could replace it; None if nobody could.

    A path that does not exist yet is judged by the folders that do. Root is trusted.

    Args:
        path: Path of a file or a folder.
    """
    absolute = Path(os.path.abspath(path))
    seen = [*reversed(absolute.parents), absolute]
    real = Path(os.path.realpath(absolute))
    seen += [*reversed(real.parents), real]
    for one in dict.fromkeys(seen):
        try:
            found = one.lstat()
        except OSError:  # not there, or not readable, and then nothing can be loaded from it
            continue
        if found.st_uid not in (0, os.geteuid()):
            return f"{one} belongs to another user"
        is_shared = one not in (absolute, real) and found.st_mode & stat.S_ISVTX  # as /tmp: no renaming
        if not stat.S_ISLNK(found.st_mode) and _others_may_write(found) and not is_shared:
            return f"{one} can be written by other users"
    return None


@cache
def private_folder(folder: Path) -> Path:
    """Return a folder if nobody else may write there, else one in its place, which a warning names.

    Args:
        folder: The folder, which need not exist.
    """
    if (reason := writable_by_others(folder)) is None:
        return folder
    other = Path(platformdirs.user_cache_dir("gatescope"))
    if other == folder or writable_by_others(other) is not None or not _can_be_made(other):
        other = Path(tempfile.mkdtemp(prefix="gatescope-"))
    log.warning("nothing is loaded from %s (%s); %s is used", folder, reason, other)
    return other


def make_private(folder: Path) -> None:
    """Make a folder that only this user can read, with its parents; one that exists is left as it is.

    Raises:
        OSError: It cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(exist_ok=True, mode=0o700)


def close_to_others(path: Path) -> None:
    """Take from others the right to write a file, which the file mode mask of this process may give them."""
    path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o022)


def _others_may_write(found: os.stat_result) -> bool:
    """Return whether its mode lets anybody but its owner write, the owner's private group not counted."""
    if found.st_mode & stat.S_IWOTH or not found.st_mode & stat.S_IWGRP:
        return bool(found.st_mode & stat.S_IWOTH)
    try:
        group, user = grp.getgrgid(found.st_gid), pwd.getpwuid(found.st_uid)
    except KeyError:
        return True
    return group.gr_name != user.pw_name or bool(set(group.gr_mem) - {user.pw_name})


def _can_be_made(folder: Path) -> bool:
    try:
        make_private(folder)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
