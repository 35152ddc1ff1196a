"""What a checkpoint stores about its data, so that its weights are not used with other data."""

from __future__ import annotations

from typing import Any

from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.sequences import TaskSpec


def check_same_data(data: SequenceData, checkpoint: dict[str, Any]) -> None:
    """Raise if a checkpoint was trained on other data than these.

    Raises:
        DataError: The data differ, or the checkpoint does not say which data it was trained on.
    """
    if "data" not in checkpoint:
        raise DataError(
            "the checkpoint was written by an older version and does not identify its data; "
            "use force=true to train the run again"
        )
    changes = data.changes(checkpoint["data"])
    if changes:
        raise DataError(
            f"the run was started with other data ({'; '.join(changes)}); restore the original data, or use "
            "force=true to train the run again"
        )


def vocabularies(task: TaskSpec) -> dict[str, list[str]]:
    """Return the names of token, target and class ids, as lists, which `weights_only` loading allows."""
    return {
        "vocabulary": list(task.vocabulary),
        "target_vocabulary": list(task.target_vocabulary),
        "labels": list(task.labels),
    }
