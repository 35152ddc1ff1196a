"""One symbol per step: cross-entropy over the scored positions (target other than IGNORE)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from gatescope.sequences import IGNORE, TaskSpec
from gatescope.training.objective import BaseObjective, Ratio, masked_mean
from gatescope.training.predictions import to_numpy


def bits(values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of each step in bits, and whether the step is scored.

    Shape:
        values: (B, K, T) logits; targets: (B, T); both results: (B, T).
    """
    loss = F.cross_entropy(values, targets, ignore_index=IGNORE, reduction="none")
    return loss / math.log(2), targets != IGNORE


class Objective(BaseObjective):
    """Cross-entropy, with accuracy over scored positions, and bits per character if the task uses it.

    Args:
        task: The task.
        class_weights: (K,) factor of a step's loss by its symbol, in training alone.
        label_smoothing: Share of the target's probability that training spreads over all symbols.
    """

    def __init__(
        self, task: TaskSpec, class_weights: Tensor | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(task)
        self.class_weights, self.label_smoothing = class_weights, label_smoothing

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy over the scored steps of each sequence, of shape (B,)."""
        loss = F.cross_entropy(values.transpose(1, 2), targets, ignore_index=IGNORE, reduction="none")
        return masked_mean(loss, targets != IGNORE)

    def minimised(self, losses: Tensor, values: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of the smoothed and weighted cross-entropy over scored steps, of shape (B,)."""
        if not self.label_smoothing and self.class_weights is None:
            return losses
        loss = F.cross_entropy(
            values.transpose(1, 2),
            targets,
            ignore_index=IGNORE,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        if self.class_weights is not None:
            self.class_weights = self.class_weights.to(values.device)  # copied in the first step alone
            loss = loss * self.class_weights[targets.clamp(min=0)]
        return masked_mean(loss, targets != IGNORE)

    def metrics(self) -> MetricCollection:
        """Return accuracy, and bpc if it is the task's metric."""
        metrics: dict[str, Metric | MetricCollection] = {
            "accuracy": MulticlassAccuracy(self.task.output_size, average="micro", ignore_index=IGNORE)
        }
        if self.task.metric == "bpc":
            metrics["bpc"] = Ratio(bits)
        return MetricCollection(metrics, compute_groups=False)

    def outcome(self, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, K, T) and targets (B, T)."""
        return values.transpose(1, 2), targets

    def columns(self, values: Tensor, targets: Tensor, outcome: tuple[Any, Any]) -> dict[str, Any]:
        """Return the numbers of correct and of scored steps of each sequence."""
        scored = targets != IGNORE
        correct = (values.argmax(-1) == targets) & scored
        return {"correct": to_numpy(correct.sum(1)), "scored": to_numpy(scored.sum(1))}
