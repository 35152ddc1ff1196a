"""One real value per sequence: mean squared error, and the share of examples within a tolerance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanSquaredError, Metric, MetricCollection

from gatescope.training.objective import BaseObjective
from gatescope.training.predictions import to_numpy


class SolvedRate(Metric):
    """Share of examples whose absolute error is below a tolerance.

    Args:
        tolerance: Absolute error below which an example counts as solved.
        kwargs: Arguments of `torchmetrics.Metric`.
    """

    full_state_update = False
    higher_is_better = True
    solved: Tensor
    count: Tensor

    def __init__(self, tolerance: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tolerance = tolerance
        self.add_state("solved", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Count the solved examples of a batch."""
        self.solved += ((predictions - targets).abs() < self.tolerance).sum()
        self.count += targets.numel()

    def compute(self) -> Tensor:
        """Return the share, of shape ()."""
        return self.solved / self.count


class Objective(BaseObjective):
    """Mean squared error, with the metrics mse and, if the task has a tolerance, solved.

    Loss and metrics are in the unit of the targets. With a scale, training minimises the squared error on it.
    """

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return the squared error of each example, of shape (B,)."""
        return F.mse_loss(values[:, 0], targets, reduction="none")

    def minimised(self, losses: Tensor, values: Tensor, targets: Tensor) -> Tensor:
        """Return the squared error of each example on the scale of the targets, of shape (B,)."""
        scale = self.task.target_scale
        if scale is None:
            return losses
        if scale.log:
            losses = F.mse_loss(values[:, 0].log(), targets.log(), reduction="none")
        return losses / scale.deviation**2

    def metrics(self) -> MetricCollection:
        """Return mse, and solved if the task has a tolerance."""
        metrics: dict[str, Metric | MetricCollection] = {"mse": MeanSquaredError()}
        if self.task.tolerance is not None:
            metrics["solved"] = SolvedRate(self.task.tolerance)
        return MetricCollection(metrics, compute_groups=False)

    def outcome(self, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions and targets, of shape (B,) each."""
        return values[:, 0], targets

    def columns(self, values: Tensor, targets: Tensor, outcome: tuple[Any, Any]) -> dict[str, Any]:
        """Return target and prediction of each example."""
        predicted, true = outcome
        return {"target": to_numpy(true), "prediction": to_numpy(predicted)}
