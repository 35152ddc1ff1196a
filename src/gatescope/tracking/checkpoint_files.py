"""The checkpoint files of a run.

    checkpoints/last.ckpt      everything that the rest of the run depends on, and the position in the record
    checkpoints/last-1.ckpt    the previous one
    checkpoints/best.ckpt      the weights with the best validation metric
    checkpoints/*.broken       damaged files

When a run has finished, the first two are deleted unless `checkpoint.keep=all`.
"""

from __future__ import annotations

import logging
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

log = logging.getLogger(__name__)

LAST, PREVIOUS, BEST = "last.ckpt", "last-1.ckpt", "best.ckpt"
STATE_KEY = "gatescope"
"""Key of a checkpoint with the state that Lightning does not save."""


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint that was read completely.

    Attributes:
        path: Its file.
        step: Number of updates of its weights.
        position: Position in the record, see `Record.position`.
    """

    path: Path
    step: int
    position: dict[str, Any]


def find_checkpoint(directory: Path) -> SavedCheckpoint | None:
    """Return the newest usable checkpoint of a run; unusable ones are renamed to `*.broken`."""
    for name in (LAST, PREVIOUS):
        path = directory / "checkpoints" / name
        if not path.exists():
            continue
        try:
            return _read_saved(path, directory)
        except Exception as error:  # a damaged file makes torch, zipfile or pickle raise many types
            broken = path.with_name(f"{name}.broken")
            path.replace(broken)
            log.warning("%s cannot be used (%s); renamed to %s", path, error, broken.name)
    return None


def weights_path(directory: Path) -> Path | None:
    """Return the checkpoint with the weights of a run: the best one, else the last one, else None."""
    folder = directory / "checkpoints"
    return next((path for name in (BEST, LAST) if (path := folder / name).exists()), None)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        Exception: The file is damaged: ValueError for a wrong checksum, or any exception of torch, zipfile or
            pickle.
    """
    with zipfile.ZipFile(path) as archive:  # torch does not verify checksums
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} is corrupted")
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return checkpoint


def _read_saved(path: Path, directory: Path) -> SavedCheckpoint:
    """Read a checkpoint and check that the record still contains the rows that were written before it."""
    checkpoint = read_checkpoint(path)
    position: dict[str, Any] = checkpoint[STATE_KEY]["position"]
    for name, length in position["files"].items():
        file = directory / name
        if (file.stat().st_size if file.exists() else 0) < length:
            raise ValueError(f"{name} is shorter than when it was saved")
    return SavedCheckpoint(path, int(checkpoint["global_step"]), position)


def delete_checkpoints(directory: Path, keep: str) -> None:
    """Delete the checkpoints that a finished run does not need, and temporary files of killed processes.

    Args:
        directory: Directory of the run.
        keep: "all" keeps all checkpoints; "best" only the best weights, or the last ones if no validation
            ran.
    """
    folder = directory / "checkpoints"
    unneeded = list(folder.glob(".*.ckpt.*"))
    if keep == "best":
        names = (LAST, PREVIOUS) if (folder / BEST).exists() else (PREVIOUS,)
        unneeded += [folder / name for name in names]
    for path in unneeded:
        with suppress(OSError):
            path.unlink(missing_ok=True)
