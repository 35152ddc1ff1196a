"""The task of a model, saved with its weights: it is then used without the data that it was trained on.

The content consists of strings, numbers, lists and dicts, which `weights_only` loading and JSON allow. Of
pretrained vectors only the shape is saved: they are among the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

import torch
from pydantic import TypeAdapter

from gatescope.sequences import TaskSpec

if TYPE_CHECKING:
    from gatescope.data.datamodule import SequenceData

NOT_SAVED = ("notes", "vectors")


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
    return task_content(data.task, int(data.splits.train.lengths.max()))


def task_content(task: TaskSpec, longest: int) -> dict[str, Any]:
    """Return what `restored_task` reads.

    Args:
        task: The task.
        longest: Number of steps of the longest training sequence.
    """
    return {
        "spec": spec_values(task),
        "vectors": None if task.vectors is None else list(task.vectors.shape),
        "longest": longest,
    }


def spec_values(task: TaskSpec) -> dict[str, Any]:
    """Return the saved fields of a task in values of JSON."""
    return {name: one.dump_python(getattr(task, name), mode="json") for name, one in _fields().items()}


def restored_task(content: Mapping[str, Any]) -> SavedTask:
    """Return the task from the content of a checkpoint.

    Raises:
        KeyError: It was saved by a version whose tasks have other fields.
        ValueError: A field has another type.
    """
    known = _fields()
    spec: dict[str, Any] = {
        name: known[name].validate_python(value) for name, value in content["spec"].items()
    }
    shape = content["vectors"]
    task = TaskSpec(**spec, vectors=None if shape is None else torch.zeros(shape))
    return SavedTask(task, int(content["longest"]))


@cache
def _fields() -> dict[str, TypeAdapter[Any]]:
    """Return the conversion of each saved field into values of JSON and back."""
    hints = get_type_hints(TaskSpec)
    return {one.name: TypeAdapter(hints[one.name]) for one in fields(TaskSpec) if one.name not in NOT_SAVED}
