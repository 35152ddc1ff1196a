"""What each kind of task minimises and reports. A kind is a file with a class named `Objective`; one whose
targets are multilabel has a file of its own, `<kind>_multilabel`."""

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
    """Loss and metrics of a task. `values` are what the head gives, (B, K) or (B, T, K)."""

    def __init__(self, task: TaskSpec) -> None:
        self.task = task

    @abstractmethod
    def loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """(B,): one loss an example, so that any reduction can be made of it."""

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Fresh metrics, by the names under which they are logged."""

    @abstractmethod
    def outcome(self, values: Tensor, targets: Tensor) -> tuple[Any, Any]:
        """The predictions and targets that the metrics take."""

    @abstractmethod
    def columns(self, values: Tensor, targets: Tensor, outcome: tuple[Any, Any]) -> dict[str, Any]:
        """What is kept of each tested example besides its id and loss: lists of B strings, or arrays (B,).

        Args:
            values: what the head gave.
            targets: of the batch.
            outcome: what `outcome` made of the answer to the batch, as the metrics took it.
        """

    def training_metrics(self) -> MetricCollection:
        """What is measured on training batches: by default all that is on the others."""
        return self.metrics()

    def training_outcome(self, values: Tensor, targets: Tensor) -> tuple[Any, Any]:
        """As `outcome`, for `training_metrics`."""
        return self.outcome(values, targets)

    def answer(self, model: SequenceModel, batch: Batch, values: Tensor, stage: str) -> Tensor:
        """What `outcome` takes as values in stage "validation" or "test": other than `values` where a model
        must write its answer without seeing the target."""
        return values


def objective_for(task: TaskSpec) -> BaseObjective:
    """The objective of the task's kind, from `gatescope.training.<kind>`."""
    name = f"{task.kind}_multilabel" if task.multilabel else task.kind
    module = import_module(f"gatescope.training.{name}")
    objective: BaseObjective = module.Objective(task)
    return objective


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(B, T), (B, T) bool -> (B,): mean over true positions, 0 where there is none."""
    return torch.where(mask, values, 0).sum(1) / mask.sum(1).clamp(min=1)


class Ratio(Metric):
    """Σ amounts / Σ weights over all steps of all batches.

    Args:
        parts: (values, targets) -> amounts and weights, (B, T) each, both 0 where a step does not count; a
            function of a module, so that the metric can be copied.
    """

    full_state_update = False
    amounts: Tensor
    weights: Tensor

    def __init__(self, parts: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = parts
        # Double: a float counts no further than 16,777,216.
        for name in ("amounts", "weights"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Tensor, targets: Tensor) -> None:
        amounts, weights = self.parts(values, targets)
        self.amounts += amounts.sum(dtype=torch.float64)
        self.weights += weights.sum(dtype=torch.float64)

    def compute(self) -> Tensor:
        return (self.amounts / self.weights).float()
