"""Checks of loaded splits, before any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from gatescope.data.errors import DataError
from gatescope.data.examples import Examples, Splits
from gatescope.data.ragged import Ragged
from gatescope.sequences import IGNORE

_MEND = "mend or drop these rows"


def check_splits(splits: Splits) -> None:
    """Refuses what no model could train on: empty splits or sequences, NaN or infinity, labels out of range.

    Raises:
        DataError: naming the split, the first five rows at fault and their count.
    """
    task = splits.task
    for name in ("train", "validation", "test"):
        examples: Examples = getattr(splits, name)
        if len(examples) == 0:
            raise DataError(f"the {name} split is empty")
        _complain(name, np.flatnonzero(examples.lengths == 0), "the sequence is empty", "drop these rows")
        assert isinstance(examples.inputs, Ragged)
        if task.inputs == "features":
            bad = ~torch.isfinite(examples.inputs.flat).all(dim=-1)
            _complain(name, examples.inputs.rows(bad), "NaN or infinity in the features", _MEND)
        else:
            outside = (examples.inputs.flat < 0) | (examples.inputs.flat >= task.input_size)
            what = f"a token id outside the vocabulary of {task.input_size}"
            _complain(name, examples.inputs.rows(outside), what, "encode with the task's vocabulary")
        targets, rows_of = _flat_targets(examples)
        if task.kind != "regression" and not targets.is_floating_point():
            classes = max(task.output_size, 2)
            outside = ((targets < 0) & (targets != IGNORE)) | (targets >= classes)
            what = f"a label outside the {classes} declared classes (0 to {classes - 1})"
            _complain(name, rows_of(outside), what, "correct the labels or declare the class")
        elif not torch.isfinite(targets).all():
            _complain(name, rows_of(~torch.isfinite(targets)), "NaN or infinity in the target", _MEND)


def _flat_targets(examples: Examples) -> tuple[Tensor, Callable[[Tensor], list[int]]]:
    """All targets, and the way back from flags over them (same shape) to the rows at fault."""
    if isinstance(examples.targets, Ragged):
        return examples.targets.flat, examples.targets.rows
    assert isinstance(examples.targets, Tensor)
    return examples.targets, lambda flags: flags.nonzero()[:, 0].unique().tolist()


def _complain(split: str, rows: Sequence[int] | np.ndarray, what: str, remedy: str) -> None:
    if len(rows):
        first = ", ".join(str(int(r)) for r in rows[:5])
        raise DataError(f"{split} split: {what} in {len(rows)} row(s), first: {first}; {remedy}")
