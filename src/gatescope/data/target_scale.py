"""The scale on which the targets of a regression are learnt, from the train split."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor

from gatescope.data.errors import DataError
from gatescope.data.examples import Splits
from gatescope.sequences import TargetScale

ScaleName = Literal["standard", "log", "none"]


def with_target_scale(splits: Splits, name: ScaleName) -> Splits:
    """Return splits whose task has a scale of its targets; those of a classification are returned unchanged.

    Args:
        splits: The splits.
        name: standard: mean 0 and deviation 1 over train, for each output by itself; log: the same for the
            logarithms; none: no scale.

    Raises:
        DataError: A logarithm is asked for, and a target is not above 0.
    """
    if splits.task.kind != "regression" or name == "none":
        return splits
    if name == "log":
        for split in ("train", "validation", "test"):
            targets: Tensor = getattr(splits, split).targets
            if bool((targets <= 0).any()):
                raise DataError(
                    f"data.target_scale: given log, and the {split} split has the target "
                    f"{targets.min().item():g}; a logarithm needs targets above 0: use standard"
                )
    assert isinstance(splits.train.targets, Tensor)
    values = splits.train.targets.double()
    values = values.log() if name == "log" else values
    deviation, mean = values.std(0, correction=0), values.mean(0)
    deviation = deviation.where(deviation > 0, 1)
    if values.dim() == 1:
        scale = TargetScale(mean.item(), deviation.item(), name == "log")
    else:
        scale = TargetScale(tuple(mean.tolist()), tuple(deviation.tolist()), name == "log")
    return replace(splits, task=replace(splits.task, target_scale=scale))
