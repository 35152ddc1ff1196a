"""What is predicted for each sequence, and the decision for labels: fields of a `TaskSpec`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from gatescope.data.encoding.spans import has_spans
from gatescope.data.errors import DataError
from gatescope.data.examples import Splits

TargetKind = Literal["classification", "multilabel", "regression"]
"""One class, any number of labels, or one or several numbers, of each sequence."""
TaskKind = TargetKind | Literal["tagging"]
"""Also a tag of each step."""
SEPARATORS = {"comma": ",", "semicolon": ";", "pipe": "|", "tab": "\t", "blank": " "}
"""Names of the separators of labels that a command line would have to quote."""
Probability = Annotated[float, Field(gt=0, lt=1)]


def target_fields(kind: TaskKind, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of a `TaskSpec` that follow from what is predicted.

    Args:
        kind: classification: targets are (N,) class indices; two classes have one (sigmoid) output.
            multilabel: (N, K) zeros and ones. regression: (N,) numbers, or (N, K) with a name for each.
            tagging: N sequences (T_i,) of tag indices.
        names: of the classes, labels, outputs or tags.
    """
    if kind == "regression":
        # The units of several outputs differ, so that the mean of their errors in these units says little.
        metric, size = "scaled_mse" if names else "mse", max(len(names), 1)
        return {"kind": kind, "output_size": size, "metric": metric, "direction": "min", "labels": names}
    if kind == "tagging":
        metric = "span_f1" if has_spans(names) else "accuracy"
        size = len(names)
        return {"kind": kind, "output_size": size, "metric": metric, "direction": "max", "labels": names}
    fields = {"kind": "classification", "direction": "max", "labels": names}
    if kind == "multilabel":
        return fields | {"multilabel": True, "output_size": len(names), "metric": "macro_f1"}
    return fields | {"output_size": 1 if len(names) == 2 else len(names), "metric": "accuracy"}


def with_thresholds(splits: Splits, threshold: float | Sequence[float]) -> Splits:
    """Return splits whose labels are predicted above a threshold; those of other tasks are unchanged.

    Args:
        splits: The splits.
        threshold: A probability for all labels, or one for each, in their order.

    Raises:
        DataError: There is another number of labels.
    """
    task = splits.task
    if not task.multilabel or threshold == 0.5:
        return splits
    several = isinstance(threshold, Sequence)
    thresholds = tuple(threshold) if isinstance(threshold, Sequence) else (threshold,) * task.output_size
    if several and len(thresholds) != task.output_size:
        raise DataError(
            f"data.threshold: given {len(thresholds)} numbers, allowed: one, or {task.output_size} in the "
            f"order {', '.join(task.labels[:20])}"
        )
    return replace(splits, task=replace(task, thresholds=thresholds))
