"""Checks of the loaded splits, before any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from gatescope.data.errors import MAX_SHOWN, DataError
from gatescope.data.examples import Examples, Splits
from gatescope.data.ragged import Ragged, chunks
from gatescope.sequences import IGNORE, TaskSpec

_CORRECT = "correct or drop these rows"


def check_splits(splits: Splits) -> None:
    """Check that a model can be trained on the splits.

    Raises:
        DataError: a split or a sequence is empty, a value is NaN or infinite, or a token id or label is out
            of range; the message names the split, the first five rows and the number of all. Or tensors are
            on a GPU. Or the task names another number of tokens, symbols or classes than it has.
    """
    _check_names(splits.task)
    for name in ("train", "validation", "test"):
        examples: Examples = getattr(splits, name)
        if len(examples) == 0:
            raise DataError(f"the {name} split is empty")
        _check_device(name, examples)
        _refuse(name, np.flatnonzero(examples.lengths == 0), "the sequence is empty", "drop these rows")
        _check_inputs(name, examples, splits.task)
        _check_targets(name, examples, splits.task)


def _check_names(task: TaskSpec) -> None:
    """Check the number of names; tokens and classes need none, the symbols of a transduction do."""
    expected = {"target_vocabulary": task.output_size} if task.kind == "transduction" else {}
    if task.vocabulary and task.inputs == "tokens":
        expected["vocabulary"] = task.input_size
    if task.labels:
        expected["labels"] = max(task.output_size, 2) if task.has_classes else task.output_size
    for name, size in expected.items():
        names = getattr(task, name)
        if len(names) != size:
            raise DataError(f"the task has {len(names)} names in {name}, expected {size}: one per id")


def _check_device(split: str, examples: Examples) -> None:
    """Check that the tensors are on the CPU: worker processes cannot use CUDA."""
    for kind in ("inputs", "targets"):
        part = getattr(examples, kind)
        device = (part.flat if isinstance(part, Ragged) else part).device
        if device.type != "cpu":
            raise DataError(
                f"{split} split: the {kind} are on {device}; return tensors on the CPU (.cpu()); training "
                "moves each batch to its device"
            )


def _check_inputs(split: str, examples: Examples, task: TaskSpec) -> None:
    assert isinstance(examples.inputs, Ragged)
    flat = examples.inputs.flat
    if task.inputs == "features":
        flags, first = torch.empty(len(flat), dtype=torch.bool), 0
        for chunk in chunks(flat):  # isfinite needs as much memory as its argument
            torch.all(torch.isfinite(chunk), dim=-1, out=flags[first : first + len(chunk)])
            first += len(chunk)
        rows = examples.inputs.containing(flags.logical_not_())
        _refuse(split, rows, "NaN or infinity in the features", _CORRECT)
    else:
        rows = examples.inputs.containing((flat < 0) | (flat >= task.input_size))
        what = f"a token id outside the vocabulary of {task.input_size}"
        _refuse(split, rows, what, "encode with the task's vocabulary")


def _check_targets(split: str, examples: Examples, task: TaskSpec) -> None:
    targets, rows_containing = _flat_targets(examples)
    if task.kind != "regression" and not targets.is_floating_point():
        classes = max(task.output_size, 2)
        rows = rows_containing(((targets < 0) & (targets != IGNORE)) | (targets >= classes))
        what = f"a label outside the {classes} declared classes (0 to {classes - 1})"
        _refuse(split, rows, what, "correct the labels or declare the class")
    elif not torch.isfinite(targets).all():
        rows = rows_containing(~torch.isfinite(targets))
        _refuse(split, rows, "NaN or infinity in the target", _CORRECT)


def _flat_targets(examples: Examples) -> tuple[Tensor, Callable[[Tensor], list[int]]]:
    """Return all targets, and a function from flags of the same shape to the rows with a flag."""
    if isinstance(examples.targets, Ragged):
        return examples.targets.flat, examples.targets.containing
    assert isinstance(examples.targets, Tensor)
    return examples.targets, lambda flags: flags.nonzero()[:, 0].unique().tolist()


def _refuse(split: str, rows: Sequence[int] | np.ndarray, what: str, remedy: str) -> None:
    if len(rows):
        first = ", ".join(str(int(row)) for row in rows[:MAX_SHOWN])
        raise DataError(f"{split} split: {what} in {len(rows)} row(s), first: {first}; {remedy}")
