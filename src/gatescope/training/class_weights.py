"""The options of `loss` in a config: what a classification minimises in place of the plain cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gatescope.config import ConfigError
from gatescope.sequences import TaskSpec


def loss_options(options: Mapping[str, Any], task: TaskSpec, targets: Any) -> dict[str, Any]:
    """Return the arguments of the objective of a classification; none if all options have their defaults.

    Args:
        options: The section `loss` of a config.
        task: The task.
        targets: Train targets, of shape (N,).

    Raises:
        ConfigError: The task is not a classification of sequences, or the number of weights is wrong.
    """
    given, smoothing = options.get("class_weights"), options.get("label_smoothing", 0.0)
    for name, value in (("class_weights", given), ("label_smoothing", smoothing)):
        if value and task.kind != "classification":
            message = f"for data with one label per sequence, and these are a {task.kind} task; remove it"
            raise ConfigError([f"loss.{name}: given {value}, {message}"])
    if not given and not smoothing:
        return {}
    weights = None if given is None else class_weights(given, task, targets)
    return {"class_weights": weights, "label_smoothing": smoothing}


def class_weights(given: str | Sequence[float], task: TaskSpec, targets: Tensor) -> Tensor:
    """Return the weight of each class, of shape (number of classes,); their mean over train is 1.

    Args:
        given: "balanced": inversely proportional to the number of train examples; or a number per class.
        task: The task.
        targets: Train targets, of shape (N,).

    Raises:
        ConfigError: There is not one number per class, or no train example would have a weight.
    """
    classes = max(task.output_size, 2)
    counts = torch.bincount(targets, minlength=classes).double()
    if isinstance(given, str):
        return (len(targets) / (counts.count_nonzero() * counts.clamp(min=1))).float()
    if len(given) != classes:
        names = ", ".join(task.labels[:20]) or f"0 to {classes - 1}"
        raise ConfigError(
            [f"loss.class_weights: given {len(given)} numbers, allowed: {classes}, in the order {names}"]
        )
    weights = torch.tensor(list(given), dtype=torch.float64)
    total = (counts * weights).sum()
    if total == 0:
        raise ConfigError(["loss.class_weights: given 0 for every class of train, allowed: one above 0"])
    return (weights * len(targets) / total).float()
