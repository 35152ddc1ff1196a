"""Real values per sequence: mean squared error, and the share of examples within a tolerance."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanSquaredError, Metric, MetricCollection

from gatescope.metric_names import output_metric
from gatescope.sequences import TaskSpec
from gatescope.training.objective import BaseObjective, Ratio
from gatescope.training.predictions import to_numpy

SMALLEST = 1e-30
"""Bound of predictions whose logarithm is compared: a model without recurrence may predict one below 0."""


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


class OutputError(MeanSquaredError):
    """Mean squared error of one of several outputs.

    Args:
        output: Its index.
        kwargs: Arguments of `torchmetrics.Metric`.
    """

    def __init__(self, output: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output = output

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add the errors of a batch, (B, K) each."""
        super().update(predictions[:, self.output], targets[:, self.output])


class Objective(BaseObjective):
    """Mean squared error, with the metrics mse and, if the task has a tolerance, solved.

    Loss and metrics are in the unit of the targets. With a scale, training minimises the squared error on it.

    Several outputs have units of their own: loss and the metric scaled_mse are the mean over the outputs of
    the squared errors on the scale of the targets, where 1 is the error of the mean of train. <name>/mse is
    the error of an output in its own unit.
    """

    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return the squared error of each example, of shape (B,)."""
        if self.task.output_size > 1:
            return scaled_errors(self.task, values, targets).mean(1)
        return F.mse_loss(values[:, 0], targets, reduction="none")

    def minimised(self, losses: Tensor, values: Tensor, targets: Tensor) -> Tensor:
        """Return the squared error of each example on the scale of the targets, of shape (B,)."""
        if self.task.target_scale is None or self.task.output_size > 1:
            return losses
        return scaled_errors(self.task, values, targets[:, None])[:, 0]

    def metrics(self) -> MetricCollection:
        """Return the errors, and solved if the task has a tolerance."""
        metrics: dict[str, Metric | MetricCollection] = {}
        if self.task.output_size == 1:
            metrics["mse"] = MeanSquaredError()
        else:
            metrics["scaled_mse"] = Ratio(partial(_sums, self.task))
            names = output_names(self.task)
            metrics |= {output_metric(name, "mse"): OutputError(k) for k, name in enumerate(names)}
        if self.task.tolerance is not None:
            metrics["solved"] = SolvedRate(self.task.tolerance)
        return MetricCollection(metrics, compute_groups=False)

    def outcome(self, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions and targets, of shape (B,) each, or (B, K) for several outputs."""
        return values[:, 0] if self.task.output_size == 1 else values, targets

    def columns(self, values: Tensor, targets: Tensor, outcome: tuple[Any, Any]) -> dict[str, Any]:
        """Return target and prediction of each example, and of several outputs those of each."""
        predicted, true = outcome
        parts = {"target": to_numpy(true), "prediction": to_numpy(predicted)}
        if self.task.output_size == 1:
            return parts
        names = output_names(self.task)
        return {f"{part}({name})": v[:, k] for k, name in enumerate(names) for part, v in parts.items()}


def scaled_errors(task: TaskSpec, values: Tensor, targets: Tensor) -> Tensor:
    """Return the squared errors on the scale of the targets; without a scale in their unit.

    Shape:
        values, targets and the result: (B, K).
    """
    scale = task.target_scale
    if scale is None:
        return F.mse_loss(values, targets, reduction="none")
    if scale.log:
        values, targets = values.clamp(min=SMALLEST).log(), targets.log()
    deviation = torch.as_tensor(scale.deviation, dtype=values.dtype, device=values.device)
    return F.mse_loss(values, targets, reduction="none") / deviation**2


def _sums(task: TaskSpec, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scaled errors, and ones to count them."""
    errors = scaled_errors(task, values, targets)
    return errors, torch.ones_like(errors)


def output_names(task: TaskSpec) -> list[str]:
    """Return the names of the outputs, or their indices if they have no unique names."""
    names = list(task.labels)
    return names if len(set(names)) == task.output_size else [str(k) for k in range(task.output_size)]
