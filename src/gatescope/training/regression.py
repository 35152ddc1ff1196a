"""One real value a sequence: mean squared error, and the share of examples solved within a tolerance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanSquaredError, Metric, MetricCollection

from gatescope.training.objective import BaseObjective
from gatescope.training.predictions import array


class SolvedRate(Metric):
    """Share of examples with |error| below `tolerance`."""

    full_state_update = False
    solved: Tensor
    count: Tensor

    def __init__(self, tolerance: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tolerance = tolerance
        self.add_state("solved", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        self.solved += ((predictions - targets).abs() < self.tolerance).sum()
        self.count += targets.numel()

    def compute(self) -> Tensor:
        return self.solved / self.count


class Objective(BaseObjective):
    """Metrics: mse, and solved where the task declares a tolerance."""

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(values[:, 0], targets, reduction="none")

    def metrics(self) -> MetricCollection:
        metrics: dict[str, Metric | MetricCollection] = {"mse": MeanSquaredError()}
        if self.task.tolerance is not None:
            metrics["solved"] = SolvedRate(self.task.tolerance)
        return MetricCollection(metrics, compute_groups=False)

    def outcome(self, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return values[:, 0], targets

    def columns(self, values: Tensor, targets: Tensor, outcome: tuple[Any, Any]) -> dict[str, Any]:
        said, true = outcome
        return {"target": array(true), "prediction": array(said)}
