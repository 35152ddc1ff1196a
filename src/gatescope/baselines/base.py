"""The interface of a baseline, and its evaluation with the losses and metrics of training."""

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
"""Number of examples that are padded together; bounds the memory and does not change results."""

UNSEEN = 1e-6
"""Probability of a class that does not occur in train, so that its loss is finite."""


class Baseline(ABC):
    """A model that is fitted once and then predicts any batch."""

    @abstractmethod
    def fit(self, examples: Examples, task: TaskSpec) -> None:
        """Fit the model to a split.

        Raises:
            ValueError: the baseline cannot be used for this task.
        """

    @abstractmethod
    def predict(self, batch: Batch) -> Tensor:
        """Return logits or values: (B, K), or (B, T, K) if every time step has a target."""

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Number of fitted coefficients."""


def evaluate(baseline: Baseline, splits: Splits) -> tuple[dict[str, float], Columns]:
    """Fit a baseline on train and evaluate it on validation and test.

    Returns:
        Loss and metrics under the names of training, and the predictions of the test split.
    """
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
    """Yield all examples in order, in batches of at most CHUNK."""
    for start in range(0, len(examples), CHUNK):
        indices = range(start, min(start + CHUNK, len(examples)))
        yield collate(examples, indices, task.padding_index or 0)


def class_targets(examples: Examples, task: TaskSpec, name: str) -> np.ndarray:
    """Return the class indices (N,) of all examples.

    Args:
        examples: the split.
        task: of the data.
        name: of the baseline, for the message.

    Raises:
        ValueError: the task is not a classification of sequences.
    """
    if not task.has_classes or not isinstance(examples.targets, Tensor):
        what = "classification by several labels" if task.multilabel else task.kind
        raise ValueError(f"model={name} predicts one class per sequence, and these data are a {what}")
    return examples.targets.numpy()


def logits(log_probabilities: np.ndarray, classes: np.ndarray, task: TaskSpec) -> Tensor:
    """Convert log-probabilities to the logits of a head.

    Args:
        log_probabilities: (N, C), of the classes that occur in train.
        classes: (C,) their indices.
        task: of the data.

    Returns:
        (N, K), or (N, 1) for two classes.
    """
    full = np.full((len(log_probabilities), max(task.output_size, 2)), np.log(UNSEEN))
    full[:, classes] = np.maximum(log_probabilities, np.log(UNSEEN))
    if task.output_size == 1:
        full = full[:, 1:] - full[:, :1]
    return torch.from_numpy(full).float()
