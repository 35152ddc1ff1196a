"""Arrays that took long to make, kept on the disk: made once, whoever asks and however many ask at once.

A file `<folder>/<name>-<digest>.npz` an entry, the digest over the version of its source and all settings. It
is written beside its place and renamed, so that a kill leaves it whole or absent, and read to its end, where
zip's checksums are verified: what is torn is made again. Processes take turns by a lock file.

The folder is the environment variable GATESCOPE_CACHE, else gatescope/ in the user's cache folder.
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

log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]


def folder() -> Path:
    return Path(os.environ.get("GATESCOPE_CACHE") or platformdirs.user_cache_dir("gatescope"))


def cached(name: str, source: str, settings: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
    """What `make` gives, from the disk where it was made before.

    Args:
        name: of the dataset.
        source: package and version, or a digest of the files, that the arrays come from.
        settings: all else that they depend on; what JSON can hold.
        make: gives named arrays, none of them of Python objects.
    """
    key = json.dumps({"source": source, "settings": dict(settings)}, sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = folder() / f"{name}-{digest}.npz"
    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        log.warning("nothing is cached in %s (%s); GATESCOPE_CACHE names another folder", path.parent, error)
        return make()
    try:
        found = _read(path)
        if found is None:
            found = make()
            _write(path, found)
        return found
    finally:
        lock.release()


def _read(path: Path) -> Arrays | None:
    """The arrays of an entry; None where there is none, or none that is whole."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as entry:
            return {name: entry[name] for name in entry.files}
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever a torn file makes numpy, zipfile or zlib raise
        log.warning("%s is broken (%s) and is made again", path, error)
        return None


def _write(path: Path, arrays: Arrays) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        log.warning("%s cannot be kept (%s); GATESCOPE_CACHE names another folder", path, error)
        with suppress(OSError):
            aside.unlink(missing_ok=True)
