"""How Lightning writes the checkpoints of a run."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from gatescope.tracking.checkpoint_files import LAST, PREVIOUS
from gatescope.tracking.directory import write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints such that a killed process leaves the old file or the new one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; the existing `last.ckpt` becomes `last-1.ckpt`.

        Raises:
            RecordError: The file cannot be written; the old one still exists.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        path = Path(path)
        with suppress(OSError):  # then writing the file raises
            path.parent.mkdir(parents=True, exist_ok=True)
        previous = path.with_name(PREVIOUS) if path.name == LAST else None
        write_atomically(path, buffer.getbuffer(), previous)
