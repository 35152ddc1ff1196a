"""A symbol a step: cross-entropy over the positions that are scored (target other than IGNORE)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from gatescope.sequences import IGNORE
from gatescope.training.objective import BaseObjective, Ratio, masked_mean
from gatescope.training.predictions import array


def bits(values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(B, K, T) logits, (B, T) -> bits, and which steps count, (B, T) each."""
    loss = F.cross_entropy(values, targets, ignore_index=IGNORE, reduction="none")
    return loss / math.log(2), targets != IGNORE


class Objective(BaseObjective):
    """Metrics: accuracy over scored positions, and bpc, bits per character, for a task that asks for it."""

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        loss = F.cross_entropy(values.transpose(1, 2), targets, ignore_index=IGNORE, reduction="none")
        return masked_mean(loss, targets != IGNORE)

    def metrics(self) -> MetricCollection:
        metrics: dict[str, Metric | MetricCollection] = {
            "accuracy": MulticlassAccuracy(self.task.output_size, average="micro", ignore_index=IGNORE)
        }
        if self.task.metric == "bpc":
            metrics["bpc"] = Ratio(bits)
        return MetricCollection(metrics, compute_groups=False)

    def outcome(self, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return values.transpose(1, 2), targets

    def columns(self, values: Tensor, targets: Tensor, outcome: tuple[Any, Any]) -> dict[str, Any]:
        scored = targets != IGNORE
        right = (values.argmax(-1) == targets) & scored
        return {"correct": array(right.sum(1)), "scored": array(scored.sum(1))}
