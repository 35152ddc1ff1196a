"""A symbol a step: cross-entropy over the positions that are scored (target other than IGNORE)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from gatescope.data.base import IGNORE
from gatescope.training.objective import BaseObjective, masked_mean


class Objective(BaseObjective):
    """Metrics: accuracy over scored positions."""

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        loss = F.cross_entropy(values.transpose(1, 2), targets, ignore_index=IGNORE, reduction="none")
        return masked_mean(loss, targets != IGNORE)

    def metrics(self) -> MetricCollection:
        accuracy = MulticlassAccuracy(self.task.output_size, average="micro", ignore_index=IGNORE)
        return MetricCollection({"accuracy": accuracy})

    def outcome(self, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return values.argmax(-1), targets
