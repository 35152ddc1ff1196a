"""One label per sequence: binary cross-entropy of one output for two classes, softmax for more."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    MulticlassAccuracy,
    MulticlassF1Score,
)

from gatescope.sequences import TaskSpec, probabilities
from gatescope.training.objective import BaseObjective
from gatescope.training.predictions import to_numpy


class Objective(BaseObjective):
    """Cross-entropy, with the metrics accuracy and macro_f1 (the unweighted mean of the classes' F1).

    Args:
        task: The task.
        class_weights: (number of classes,) factor of an example's loss by its class, in training alone.
        label_smoothing: Share of the target's probability that training spreads over all classes.
    """

    def __init__(
        self, task: TaskSpec, class_weights: Tensor | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(task)
        self.class_weights, self.label_smoothing = class_weights, label_smoothing

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of each example, of shape (B,)."""
        if self.task.output_size == 1:
            return F.binary_cross_entropy_with_logits(
                values[:, 0], targets.to(values.dtype), reduction="none"
            )
        return F.cross_entropy(values, targets, reduction="none")

    def minimised(self, losses: Tensor, values: Tensor, targets: Tensor) -> Tensor:
        """Return the smoothed and weighted cross-entropy of each example, of shape (B,)."""
        if self.label_smoothing:
            losses = self._smoothed(values, targets)
        if self.class_weights is not None:
            self.class_weights = self.class_weights.to(values.device)  # copied in the first step alone
            losses = losses * self.class_weights[targets]
        return losses

    def _smoothed(self, values: Tensor, targets: Tensor) -> Tensor:
        if self.task.output_size > 1:
            return F.cross_entropy(values, targets, reduction="none", label_smoothing=self.label_smoothing)
        soft = targets.to(values.dtype) * (1 - self.label_smoothing) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(values[:, 0], soft, reduction="none")

    def metrics(self) -> MetricCollection:
        """Return accuracy and macro F1."""
        classes = number_of_classes(self.task)
        # The labels were checked when the data were loaded; validating them takes half of an update.
        accuracy = (
            BinaryAccuracy(validate_args=False)
            if classes == 2
            else MulticlassAccuracy(classes, average="micro", validate_args=False)
        )
        macro_f1 = MulticlassF1Score(classes, average="macro", validate_args=False)
        return MetricCollection({"accuracy": accuracy, "macro_f1": macro_f1}, compute_groups=False)

    def outcome(self, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return predicted and true classes, of shape (B,) each."""
        if self.task.output_size == 1:
            return (values[:, 0] > 0).long(), targets
        return values.argmax(-1), targets

    def columns(self, values: Tensor, targets: Tensor, outcome: tuple[Any, Any]) -> dict[str, Any]:
        """Return true class, predicted class and the probability of each class."""
        names = class_names(self.task)
        predicted, true = ([names[i] for i in part.tolist()] for part in outcome)
        by_class = to_numpy(probabilities(self.task, values.float())).T
        return {"target": true, "prediction": predicted} | {
            f"p({name})": column for name, column in zip(names, by_class, strict=True)
        }


def number_of_classes(task: TaskSpec) -> int:
    """Return the number of classes: two for a single output, else the number of outputs."""
    return max(task.output_size, 2)


def class_names(task: TaskSpec) -> list[str]:
    """Return the names of the classes or labels, or their indices if the data have no unique names."""
    names = list(task.labels)
    count = number_of_classes(task)
    return names if len(set(names)) == count else [str(i) for i in range(count)]
