"""The files that a dataset is read from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PARTS = ("train", "validation", "test")
"""The parts that have files. A part without a file is split off from train."""


def source_files(path: str, validation_path: str | None, test_path: str | None) -> dict[str, Path]:
    """Return the given files by part."""
    paths = {"train": path, "validation": validation_path, "test": test_path}
    return {part: Path(name).expanduser() for part, name in paths.items() if name is not None}


def source_notes(files: Mapping[str, Path]) -> dict[str, Any]:
    """Return facts for the record: the names of the files, and a digest of the content of each."""
    notes: dict[str, Any] = {"source": ", ".join(path.name for path in files.values())}
    for part, path in files.items():
        with path.open("rb") as file:
            notes[f"{part}_sha256"] = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return notes
