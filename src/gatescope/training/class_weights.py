"""The options of `loss` in a config: what is minimised in place of the plain cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gatescope.config import ConfigError
from gatescope.sequences import IGNORE, TaskSpec

WEIGHTED = ("classification", "next_step", "tagging")
"""Kinds of tasks with classes."""
SMOOTHED = (*WEIGHTED, "transduction")
"""Kinds of tasks whose targets are one out of several."""


def loss_options(options: Mapping[str, Any], task: TaskSpec, targets: Any) -> dict[str, Any]:
    """Return the arguments of the objective of a task; none if all options have their defaults.

    Args:
        options: The section `loss` of a config.
        task: The task.
        targets: Train targets, a tensor or a `Ragged`.

    Raises:
        ConfigError: The task has no classes, or the number of weights is wrong.
    """
    given, smoothing = options.get("class_weights"), options.get("label_smoothing", 0.0)
    for name, value in (("class_weights", given), ("label_smoothing", smoothing)):
        kinds = WEIGHTED if name == "class_weights" else SMOOTHED
        if value and (task.kind not in kinds or (task.kind == "next_step" and task.multilabel)):
            message = f"for data with classes or labels, and these are a {task.kind} task; remove it"
            raise ConfigError([f"loss.{name}: given {value}, {message}"])
    if not given and not smoothing:
        return {}
    if task.kind == "transduction":
        return {"label_smoothing": smoothing}
    weights = None
    if given is not None:
        flat: Tensor = getattr(targets, "flat", targets)
        weigh = label_weights if task.multilabel else class_weights
        weights = weigh(given, task, flat if task.multilabel else flat[flat != IGNORE])
    return {"class_weights": weights, "label_smoothing": smoothing}


def class_weights(given: str | Sequence[float], task: TaskSpec, targets: Tensor) -> Tensor:
    """Return the weight of each class, of shape (number of classes,); their mean over train is 1.

    Args:
        given: "balanced": inversely proportional to the number of train examples or steps; or a number per
            class.
        task: The task.
        targets: Train targets that count, of shape (N,).

    Raises:
        ConfigError: There is not one number per class, or no train example would have a weight.
    """
    classes = max(task.output_size, 2)
    counts = torch.bincount(targets, minlength=classes).double()
    if isinstance(given, str):
        return (len(targets) / (counts.count_nonzero() * counts.clamp(min=1))).float()
    _check_number(given, task, classes)
    weights = torch.tensor(list(given), dtype=torch.float64)
    total = (counts * weights).sum()
    if total == 0:
        raise ConfigError(["loss.class_weights: given 0 for every class of train, allowed: one above 0"])
    return (weights * len(targets) / total).float()


def label_weights(given: str | Sequence[float], task: TaskSpec, targets: Tensor) -> Tensor:
    """Return the weights of each label where it is absent and where it is present, of shape (2, K).

    Args:
        given: "balanced": examples with and without a label have the same weight in sum, 1 in the mean over
            train; or a number per label, its weight where it is present (`pos_weight` of
            `torch.nn.BCEWithLogitsLoss`).
        task: The task.
        targets: Train targets, zeros and ones of shape (N, K).

    Raises:
        ConfigError: There is not one number per label.
    """
    if not isinstance(given, str):
        _check_number(given, task, task.output_size)
        return torch.stack([torch.ones(task.output_size), torch.tensor(list(given), dtype=torch.float32)])
    present = targets.double().sum(0)
    counts = torch.stack([len(targets) - present, present])
    return (len(targets) / ((counts > 0).sum(0) * counts.clamp(min=1))).float()


def _check_number(given: Sequence[float], task: TaskSpec, expected: int) -> None:
    if len(given) != expected:
        names = ", ".join(task.labels[:20]) or f"0 to {expected - 1}"
        raise ConfigError(
            [f"loss.class_weights: given {len(given)} numbers, allowed: {expected}, in the order {names}"]
        )
