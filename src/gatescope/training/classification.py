"""One label a sequence: one sigmoid output and binary cross-entropy for two classes, softmax for more."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    MulticlassAccuracy,
    MulticlassF1Score,
)

from gatescope.sequences import TaskSpec
from gatescope.training.objective import BaseObjective
from gatescope.training.predictions import array


class Objective(BaseObjective):
    """Metrics: accuracy, and macro_f1, the mean of the classes' F1."""

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        if self.task.output_size == 1:
            return F.binary_cross_entropy_with_logits(
                values[:, 0], targets.to(values.dtype), reduction="none"
            )
        return F.cross_entropy(values, targets, reduction="none")

    def metrics(self) -> MetricCollection:
        classes = number_of_classes(self.task)
        # Labels were checked when the data were loaded; checking them again costs half of an update.
        accuracy = (
            BinaryAccuracy(validate_args=False)
            if classes == 2
            else MulticlassAccuracy(classes, average="micro", validate_args=False)
        )
        macro_f1 = MulticlassF1Score(classes, average="macro", validate_args=False)
        return MetricCollection({"accuracy": accuracy, "macro_f1": macro_f1}, compute_groups=False)

    def outcome(self, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if self.task.output_size == 1:
            return (values[:, 0] > 0).long(), targets
        return values.argmax(-1), targets

    def columns(self, values: Tensor, targets: Tensor, outcome: tuple[Any, Any]) -> dict[str, Any]:
        names = class_names(self.task)
        said, true = ([names[i] for i in part.tolist()] for part in outcome)
        chances = array(probabilities(self.task, values.float()))
        return {"target": true, "prediction": said} | {
            f"p({n})": p for n, p in zip(names, chances.T, strict=True)
        }


def number_of_classes(task: TaskSpec) -> int:
    """Two for a single sigmoid output, else the width of the output."""
    return max(task.output_size, 2)


def class_names(task: TaskSpec) -> list[str]:
    """Of the classes in their order; their numbers where the data have no names, or have one twice."""
    names = list(task.labels)
    count = number_of_classes(task)
    return names if len(set(names)) == count else [str(i) for i in range(count)]


def probabilities(task: TaskSpec, values: Tensor) -> Tensor:
    """(…, K) logits -> (…, classes); one sigmoid output gives two classes."""
    if task.output_size == 1:
        probability = torch.sigmoid(values)
        return torch.cat([1 - probability, probability], dim=-1)
    return torch.softmax(values, dim=-1)
