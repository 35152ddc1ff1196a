"""What each kind of task minimises and reports. A kind is a file with a class named `Objective`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from gatescope.data.base import TaskSpec


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
    def outcome(self, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The predictions and targets that the metrics take."""


def objective_for(task: TaskSpec) -> BaseObjective:
    """The objective of the task's kind, from `gatescope.training.<kind>`."""
    module = import_module(f"gatescope.training.{task.kind}")
    objective: BaseObjective = module.Objective(task)
    return objective


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(B, T), (B, T) bool -> (B,): mean over true positions, 0 where there is none."""
    return torch.where(mask, values, 0).sum(1) / mask.sum(1).clamp(min=1)
