"""The contract of a baseline: fit on a train split, answer any batch as a network's head would."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gatescope.data.examples import Examples, Splits, collate
from gatescope.sequences import Batch, TaskSpec
from gatescope.training.objective import objective_for
from gatescope.training.predictions import Columns, batch_columns, concatenate

CHUNK = 1024
"""Examples that are padded together: bounds the memory, changes no number."""

NEVER = 1e-6
"""Probability given to a class that train does not hold, so that its loss is finite."""


class Baseline(ABC):
    @abstractmethod
    def fit(self, examples: Examples, task: TaskSpec) -> None:
        """Raises ValueError when the task is not one that this baseline fits."""

    @abstractmethod
    def predict(self, batch: Batch) -> Tensor:
        """(B, K), or (B, T, K) where the task is answered at every step: logits, or values."""

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Fitted coefficients."""


def evaluate(baseline: Baseline, splits: Splits) -> tuple[dict[str, float], Columns]:
    """Fits on train; loss and metrics on validation and test, by the objective and the names of training, and
    the predictions of the test split."""
    objective = objective_for(splits.task)
    baseline.fit(splits.train, splits.task)
    scores: dict[str, float] = {}
    tested: list[Columns] = []
    for name in ("validation", "test"):
        metrics, losses = objective.metrics().clone(prefix=f"{name}/"), []
        for batch in batches(getattr(splits, name), splits.task):
            values = baseline.predict(batch)
            losses.append(objective.loss(values, batch.targets))
            outcome = objective.outcome(values, batch.targets)
            metrics.update(*outcome)
            if name == "test":
                own = objective.columns(values, batch.targets, outcome)
                tested.append(batch_columns(batch.ids, losses[-1], own))
        scores[f"{name}/loss"] = float(torch.cat(losses).mean())
        scores |= {metric: float(value) for metric, value in metrics.compute().items()}
    return scores, concatenate(tested)


def batches(examples: Examples, task: TaskSpec) -> Iterator[Batch]:
    """All examples in their order, in batches of at most CHUNK."""
    for start in range(0, len(examples), CHUNK):
        indices = range(start, min(start + CHUNK, len(examples)))
        yield collate(examples, indices, task.padding_index or 0)


def class_targets(examples: Examples, task: TaskSpec, name: str) -> np.ndarray:
    """(N,) class indices.

    Raises:
        ValueError: the task has no class a sequence; `name` is the baseline's.
    """
    if task.kind != "classification" or not isinstance(examples.targets, Tensor):
        raise ValueError(f"model={name} gives one class a sequence, and these data ask for a {task.kind}")
    return examples.targets.numpy()


def logits(log_probabilities: np.ndarray, classes: np.ndarray, task: TaskSpec) -> Tensor:
    """(N, C) log-probabilities of the `classes` (C,) seen in train -> (N, K) as a head gives them."""
    full = np.full((len(log_probabilities), max(task.output_size, 2)), np.log(NEVER))
    full[:, classes] = np.maximum(log_probabilities, np.log(NEVER))
    if task.output_size == 1:
        full = full[:, 1:] - full[:, :1]
    return torch.from_numpy(full).float()
