"""A cache on disk for arrays that take long to compute.

An entry is a file `<folder>/<name>-<digest>.npz`; the digest covers the version of its source and all
settings. A file is written under a temporary name and renamed, so that a killed process leaves it complete or
absent. It is read to its end, which verifies zip's checksums; a damaged entry is computed again. A lock file
makes processes that need the same entry wait for one another.

The folder is the environment variable GATESCOPE_CACHE, or gatescope/ in the user's cache folder. Entries that
another user could have written are not read.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from filelock import FileLock

from gatescope.private import close_to_others, make_private, private_folder, writable_by_others

log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]


def cache_folder() -> Path:
    """Return the folder of the cache."""
    folder = Path(os.environ.get("GATESCOPE_CACHE") or platformdirs.user_cache_dir("gatescope"))
    return private_folder(folder.expanduser())


def cached(name: str, source: str, settings: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
    """Return the result of `compute`, from the cache if it holds the entry.

    Args:
        name: of the dataset.
        source: package and version, or a digest of the files, that the arrays come from.
        settings: everything else that they depend on, in values that JSON can hold.
        compute: returns named arrays, none of them of Python objects.
    """
    key = json.dumps({"source": source, "settings": dict(settings)}, sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = cache_folder() / f"{name}-{digest}.npz"
    lock = FileLock(path.with_suffix(".lock"))
    try:
        make_private(path.parent)
        lock.acquire()
    except OSError as error:
        log.warning("nothing is cached in %s (%s); set GATESCOPE_CACHE to another folder", path.parent, error)
        return compute()
    try:
        arrays = _read(path)
        if arrays is None:
            arrays = compute()
            _write(path, arrays)
        return arrays
    finally:
        lock.release()


def _read(path: Path) -> Arrays | None:
    """Read an entry; None if there is none, if it is damaged, or if another user could have written it."""
    if (reason := writable_by_others(path)) is not None:
        log.warning("%s is not read (%s) and is computed again", path, reason)
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as entry:
            return {name: entry[name] for name in entry.files}
    except FileNotFoundError:
        return None
    except Exception as error:  # numpy, zipfile and zlib raise many kinds of errors on a damaged file
        log.warning("%s is damaged (%s) and is computed again", path, error)
        return None


def _write(path: Path, arrays: Arrays) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        close_to_others(temporary)
        temporary.replace(path)
    except OSError as error:
        log.warning("%s cannot be written (%s); set GATESCOPE_CACHE to another folder", path, error)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
