"""Digests of the input files that a config names, so that a run is identified by its data, not their path.

A value of a config is treated as the path of an input if such a file or folder exists and either its key is
one of `PATH_KEYS` or ends in one of `PATH_SUFFIXES`, or the text contains a separator or a file extension. A
file is read once per process, and again only if its size or one of its times has changed. This module does
not import torch.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from gatescope.announce import announced

PATH_KEYS = ("path", "file", "folder", "vectors", "manifest")
PATH_SUFFIXES = ("_path", "_file", "_folder", "_dir")
PATH_PATTERN = re.compile(r"[\\/]|\.\w+$")
"""A separator or a file extension."""

DIGITS = 16
"""Number of hexadecimal digits of a digest."""

CLOCK_RESOLUTION = 50_000_000
"""Nanoseconds after which another write changes a file's times, whose clock may be coarse."""
RESCAN_FACTOR = 20
"""A folder is scanned again only after this multiple of the duration of the last scan."""

LARGE = 10_000_000
"""Bytes of a file that may take long to read; a timer for each small file of a folder would take longer."""

_file_digests: dict[str, tuple[tuple[int, ...], str]] = {}
_folder_digests: dict[str, tuple[float, str]] = {}


def replace_paths(node: Any) -> Any:
    """Return a resolved config with the path of each existing input replaced by a digest of its content."""
    return _replace_paths(node, "")


def find_inputs(node: Any, key: str = "") -> Iterator[tuple[str, Path, str]]:
    """Yield key, path and digest of each existing input that a resolved config names.

    Args:
        node: The config, or a part of it.
        key: Dotted key of this part.
    """
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from find_inputs(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from find_inputs(value, f"{key}.{i}")
    elif (path := _as_path(key, node)) is not None and (digest := _digest(path)) is not None:
        yield key, path, digest


def _replace_paths(node: Any, key: str) -> Any:
    if isinstance(node, Mapping):
        return {name: _replace_paths(value, str(name)) for name, value in node.items()}
    if isinstance(node, list | tuple):
        return [_replace_paths(value, key) for value in node]
    path = _as_path(key, node)
    digest = None if path is None else _digest(path)
    return node if digest is None else digest


def _as_path(key: str, value: Any) -> Path | None:
    """Return the value as a path, which need not exist; None if it does not look like one."""
    names = [name for name in key.split(".") if not name.isdigit()]
    name = names[-1] if names else ""
    if not isinstance(value, str) or not value or name.startswith("_"):
        return None
    if not (name in PATH_KEYS or name.endswith(PATH_SUFFIXES) or PATH_PATTERN.search(value)):
        return None
    return Path(value).expanduser()


def _digest(path: Path) -> str | None:
    """Return a digest of a folder, or of a file with its extension; None if there is no readable one."""
    try:
        if path.is_dir():
            return _folder_digest(path)
        if path.is_file():
            suffixes = [suffix.lower() for suffix in path.suffixes]
            kept = suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:]
            return f"sha256:{_file_digest(path)}{''.join(kept)}"
    except (OSError, ValueError):  # unreadable, or not a valid path, for example with a null byte
        pass
    return None


def _file_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes, from the cache if the file has not changed."""
    stat = path.stat()
    state = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    name = os.path.abspath(path)
    cached = _file_digests.get(name)
    if cached is not None and cached[0] == state:
        return cached[1]
    started = time.time_ns()
    with path.open("rb") as file, _announced_if_large(path, stat.st_size):
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
    if started - max(stat.st_mtime_ns, stat.st_ctime_ns) > CLOCK_RESOLUTION:
        _file_digests[name] = state, digest
    return digest


def _announced_if_large(path: Path, size: int) -> AbstractContextManager[None]:
    """Return a block that says that it reads a file, if that takes long."""
    return announced(f"reading {path}") if size >= LARGE else nullcontext()


def _folder_digest(path: Path) -> str:
    """Return the sha256 of the sorted names and contents of a folder's files, without hidden ones."""
    name, started = os.path.abspath(path), time.monotonic()
    cached = _folder_digests.get(name)
    if cached is not None and started < cached[0]:
        return cached[1]
    sha256 = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path)
        if file.is_file() and not any(part.startswith(".") for part in relative.parts):
            line = f"{relative.as_posix()}\0{_file_digest(file)}\n"
            sha256.update(line.encode(errors="surrogateescape"))
    digest = f"sha256:{sha256.hexdigest()[:DIGITS]}"
    now = time.monotonic()
    _folder_digests[name] = now + RESCAN_FACTOR * min(now - started, 0.1), digest
    return digest
