"""Loss and metrics of each kind of task.

A kind is a module of this package with a class named `Objective`. Tasks with several labels per position have
a module of their own, `<kind>_multilabel`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from gatescope.models.encoder import SequenceModel
from gatescope.sequences import Batch, TaskSpec


class BaseObjective(ABC):
    """Loss and metrics of a task; `values` are the outputs of the model's head, (B, K) or (B, T, K)."""

    def __init__(self, task: TaskSpec) -> None:
        self.task = task

    @abstractmethod
    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each example, of shape (B,)."""

    def training_loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each example that training minimises, of shape (B,); by default `loss`."""
        return self.minimised(self.loss(values, targets), values, targets)

    def minimised(self, losses: Tensor, values: Tensor, targets: Tensor) -> Tensor:
        """Return what training minimises in place of `losses`, of shape (B,); by default `losses` itself.

        Every loss that is reported is `loss`, so that runs that minimise different ones can be compared.

        Args:
            losses: Result of `loss`.
            values: Outputs of the model's head.
            targets: Targets of the batch.
        """
        return losses

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Return new metrics by the names under which they are logged."""

    @abstractmethod
    def outcome(self, values: Tensor, targets: Tensor) -> tuple[Any, Any]:
        """Return the predictions and targets that the metrics are updated with."""

    @abstractmethod
    def columns(self, values: Tensor, targets: Tensor, outcome: tuple[Any, Any]) -> dict[str, Any]:
        """Return the columns of the file of predictions besides id and loss.

        Args:
            values: Outputs of the model's head.
            targets: Targets of the batch.
            outcome: Result of `outcome` for this batch.

        Returns:
            Lists of B strings, or arrays of shape (B,), by their names.
        """

    def training_metrics(self) -> MetricCollection:
        """Return the metrics of training batches; by default those of validation and test."""
        return self.metrics()

    def training_outcome(self, values: Tensor, targets: Tensor) -> tuple[Any, Any]:
        """Return the predictions and targets that `training_metrics` are updated with."""
        return self.outcome(values, targets)

    def answer(self, model: SequenceModel, batch: Batch, values: Tensor, stage: str) -> Tensor:
        """Return the values that `outcome` is called with in validation and test.

        By default these are the outputs of the head. A model that generates a sequence replaces them by what
        it generates without the targets.

        Args:
            model: The model.
            batch: The batch.
            values: Outputs of the model's head.
            stage: "validation" or "test".
        """
        return values


def objective_for(task: TaskSpec, name: str | None = None, **options: Any) -> BaseObjective:
    """Return an objective, from `gatescope.training.<name>`.

    Args:
        task: The task.
        name: That of the model, `SequenceModel.objective`; None for the task's kind.
        options: Further arguments of the objective, see `gatescope.training.class_weights`.
    """
    kind = f"{task.kind}_multilabel" if task.multilabel else task.kind
    module = import_module(f"gatescope.training.{name or kind}")
    objective: BaseObjective = module.Objective(task, **options)
    return objective


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the positions where the mask is true, and 0 where there are none.

    Shape:
        values and mask: (B, T); the result: (B,).
    """
    return torch.where(mask, values, 0).sum(1) / mask.sum(1).clamp(min=1)


class Ratio(Metric):
    """A quotient of two sums over all steps of all batches, lower for better predictions.

    Args:
        parts: Function of (values, targets) that returns numerators and denominators, of shape (B, T) each,
            both 0 at steps that do not count. It must be a function of a module, so that the metric can be
            copied.
        kwargs: Arguments of `torchmetrics.Metric`.
    """

    full_state_update = False
    higher_is_better = False
    amounts: Tensor
    weights: Tensor

    def __init__(self, parts: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = parts
        # float64: a float32 sum of ones stops at 16,777,216.
        for name in ("amounts", "weights"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Tensor, targets: Tensor) -> None:
        """Add the numerators and denominators of a batch."""
        amounts, weights = self.parts(values, targets)
        self.amounts += amounts.sum(dtype=torch.float64)
        self.weights += weights.sum(dtype=torch.float64)

    def compute(self) -> Tensor:
        """Return the quotient, of shape ()."""
        return (self.amounts / self.weights).float()
