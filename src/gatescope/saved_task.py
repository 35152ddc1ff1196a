"""The task of a model, saved with its weights: it is then used without the data that it was trained on.

The content consists of strings, numbers, lists and dicts, which `weights_only` loading and JSON allow. Of
pretrained vectors only the shape is saved: they are among the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from gatescope.sequences import TaskSpec

if TYPE_CHECKING:
    from gatescope.data.datamodule import SequenceData


class SavedTask(NamedTuple):
    """What a trained model needs of its data.

    Attributes:
        task: The task; its notes are not saved.
        longest: Number of steps of the longest training sequence.
    """

    task: TaskSpec
    longest: int


def saved_task(data: SequenceData) -> dict[str, Any]:
    """Return the content of a checkpoint from which `restored_task` makes a `SavedTask`."""
    assert data.splits is not None
    task = data.task
    content = {
        one.name: getattr(task, one.name) for one in fields(task) if one.name not in ("notes", "vectors")
    }
    return {
        "spec": {name: list(value) if isinstance(value, tuple) else value for name, value in content.items()},
        "vectors": None if task.vectors is None else list(task.vectors.shape),
        "longest": int(data.splits.train.lengths.max()),
    }


def restored_task(content: Mapping[str, Any]) -> SavedTask:
    """Return the task from the content of a checkpoint.

    Raises:
        TypeError: It was saved by a version whose tasks have other fields.
    """
    spec: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content["spec"].items()
    }
    shape = content["vectors"]
    task = TaskSpec(**spec, vectors=None if shape is None else torch.zeros(shape))
    return SavedTask(task, int(content["longest"]))
