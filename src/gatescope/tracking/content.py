"""What the files that a config names hold, so that a run is known by its data and not by where they lie.

A value of a config counts as the path of an input where its key is `path` or one of `NAMED`, or ends in
`_path`, `_file` or `_folder`, or where the text itself has the form of a path (a separator or an ending), and
such a file or folder exists. A file is read once by a process and again only when its size or one of its
times has changed. No torch here: a run's identity rests on this.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NAMED = ("path", "file", "folder", "vectors", "manifest")
ENDINGS = ("_path", "_file", "_folder", "_dir")
_FORM = re.compile(r"[\\/]|\.\w+$")
"""Of a path: a separator, or an ending."""

DIGITS = 16
"""Hexadecimal digits kept of a sha256."""

SETTLED = 50_000_000
"""Nanoseconds after which another write is sure to change a file's times, whose clock may be coarse."""
LOOKS = 20
"""A folder is looked through again only after this many times as long as looking through it took."""

_files: dict[str, tuple[tuple[int, ...], str]] = {}
_folders: dict[str, tuple[float, str]] = {}


def by_content(node: Any) -> Any:
    """A resolved config with a digest of what each input holds in the place of its path.

    A path without a file or folder stays as it is: whoever reads it says what is wrong.
    """
    return _replaced(node, "")


def inputs(node: Any, key: str = "") -> Iterator[tuple[str, Path, str]]:
    """The inputs that a resolved config names: dotted key, path, digest."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from inputs(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from inputs(value, f"{key}.{i}")
    elif (path := _input(key, node)) is not None and (digest := _digest(path)) is not None:
        yield key, path, digest


def _replaced(node: Any, key: str) -> Any:
    if isinstance(node, Mapping):
        return {name: _replaced(value, str(name)) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [_replaced(value, key) for value in node]
    path = _input(key, node)
    digest = None if path is None else _digest(path)
    return node if digest is None else digest


def _input(key: str, value: Any) -> Path | None:
    """The path of an input that may exist; None where the value is none."""
    names = [name for name in key.split(".") if not name.isdigit()]
    name = names[-1] if names else ""
    if not isinstance(value, str) or not value or name.startswith("_"):
        return None
    if not (name in NAMED or name.endswith(ENDINGS) or _FORM.search(value)):
        return None
    return Path(value).expanduser()


def _digest(path: Path) -> str | None:
    """A digest of a file, with the ending that tells its format, or of a folder; None where there is neither
    or it cannot be read."""
    try:
        if path.is_dir():
            return _of_folder(path)
        if path.is_file():
            endings = [ending.lower() for ending in path.suffixes]
            told = endings[-2:] if endings[-1:] == [".gz"] else endings[-1:]
            return f"sha256:{_of_file(path)}{''.join(told)}"
    except (OSError, ValueError):  # unreadable, or no path at all: a null byte, say
        pass
    return None


def _of_file(path: Path) -> str:
    """sha256 of its bytes, streamed."""
    stat = path.stat()
    state = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    name = os.path.abspath(path)
    known = _files.get(name)
    if known is not None and known[0] == state:
        return known[1]
    begun = time.time_ns()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
    if begun - max(stat.st_mtime_ns, stat.st_ctime_ns) > SETTLED:
        _files[name] = state, digest
    return digest


def _of_folder(path: Path) -> str:
    """sha256 of the names below it, in order, and of what each file holds; hidden files do not count."""
    name, now = os.path.abspath(path), time.monotonic()
    known = _folders.get(name)
    if known is not None and now < known[0]:
        return known[1]
    whole = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        below = file.relative_to(path)
        if file.is_file() and not any(part.startswith(".") for part in below.parts):
            whole.update(f"{below.as_posix()}\0{_of_file(file)}\n".encode(errors="surrogateescape"))
    digest = f"sha256:{whole.hexdigest()[:DIGITS]}"
    done = time.monotonic()
    _folders[name] = done + LOOKS * min(done - now, 0.1), digest
    return digest
