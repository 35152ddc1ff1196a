"""Any number of labels per sequence: binary cross-entropy of one output for each label."""

from __future__ import annotations

import json
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import MultilabelExactMatch, MultilabelF1Score

from gatescope.sequences import TaskSpec, predicted_labels, probabilities
from gatescope.training.classification import class_names
from gatescope.training.objective import BaseObjective
from gatescope.training.predictions import to_numpy


class Objective(BaseObjective):
    """Binary cross-entropy, with the metrics macro_f1, micro_f1 and subset_accuracy.

    macro_f1 is the unweighted mean of the F1 of each label, 0 for a label that neither occurs nor is
    predicted; micro_f1 is the F1 of all pairs of example and label; subset_accuracy is the share of examples
    whose labels are all correct.

    Args:
        task: The task.
        class_weights: (2, K) factors of the loss of each label where it is absent and where it is present, in
            training alone.
        label_smoothing: Share of the target's probability that training spreads over absent and present.
    """

    def __init__(
        self, task: TaskSpec, class_weights: Tensor | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(task)
        self.class_weights, self.label_smoothing = class_weights, label_smoothing

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy over the labels of each example, of shape (B,)."""
        return F.binary_cross_entropy_with_logits(values, targets.to(values.dtype), reduction="none").mean(1)

    def minimised(self, losses: Tensor, values: Tensor, targets: Tensor) -> Tensor:
        """Return the smoothed and weighted cross-entropy of each example, of shape (B,)."""
        if not self.label_smoothing and self.class_weights is None:
            return losses
        soft = targets.to(values.dtype) * (1 - self.label_smoothing) + self.label_smoothing / 2
        weights = None
        if self.class_weights is not None:
            self.class_weights = self.class_weights.to(values.device)  # copied in the first step alone
            absent, present = self.class_weights
            weights = present * targets + absent * (1 - targets)
        return F.binary_cross_entropy_with_logits(values, soft, weights, reduction="none").mean(1)

    def metrics(self) -> MetricCollection:
        """Return macro_f1, micro_f1 and subset_accuracy."""
        labels = self.task.output_size
        return MetricCollection(
            {
                "macro_f1": MultilabelF1Score(labels, average="macro", validate_args=False),
                "micro_f1": MultilabelF1Score(labels, average="micro", validate_args=False),
                "subset_accuracy": MultilabelExactMatch(labels, validate_args=False),
            },
            compute_groups=False,
        )

    def outcome(self, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return predicted and true labels as zeros and ones, of shape (B, K) each."""
        return predicted_labels(self.task, values).long(), targets.long()

    def columns(self, values: Tensor, targets: Tensor, outcome: tuple[Any, Any]) -> dict[str, Any]:
        """Return the true and the predicted labels as JSON lists, and the probability of each label."""
        names = class_names(self.task)
        predicted, true = ([_as_json(names, row) for row in part.tolist()] for part in outcome)
        by_label = to_numpy(probabilities(self.task, values.float())).T
        return {"targets": true, "predictions": predicted} | {
            f"p({name})": column for name, column in zip(names, by_label, strict=True)
        }


def _as_json(names: list[str], flags: list[int]) -> str:
    """Return the names of the labels that are there as a JSON list."""
    return json.dumps([name for name, flag in zip(names, flags, strict=True) if flag], ensure_ascii=False)
