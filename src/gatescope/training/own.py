"""A loss and a metric of the user's own, named by `loss._target_` and `metric._target_` of a config.

The loss is called with (values, targets), and returns one number for the batch, or one for each example (or
for each step or symbol, where it is given these). It is minimised in place of the task's own loss; every loss
that is reported stays the task's. The metric is a `torchmetrics.Metric` with one number as its value, updated
with (predictions, targets) in validation and test.

    task                 loss: values, targets                 metric: predictions, targets
    two classes          logit of the second (B,), 0.0 or 1.0  its probability (B,), 0 or 1
    K classes            logits (B, K), classes (B,)           probabilities (B, K), classes (B,)
    K labels             logits (B, K), 0.0 or 1.0 (B, K)      probabilities (B, K), 0 or 1 (B, K)
    regression           values and targets (B,), or (B, K),   the same in their unit
                         on the scale that is learnt
    tags, next symbol    logits (N, K), classes (N,) of all    probabilities (N, K), classes (N,)
                         scored steps
    generated symbols    as tags, given the symbols before     none
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from torch import Tensor
from torchmetrics import Metric

from gatescope.config import ConfigError
from gatescope.sequences import IGNORE, TaskSpec, first_answer, probabilities
from gatescope.training.objective import BaseObjective, masked_mean

log = logging.getLogger(__name__)

OwnLoss = Callable[[Tensor, Tensor], Tensor]
OPTIONS = ("class_weights", "label_smoothing")
"""Keys of the section `loss` that are not arguments of a loss of the user's own."""


class OwnMetric(NamedTuple):
    """A metric and the name under which it is logged."""

    name: str
    metric: Metric


def own_loss(section: Mapping[str, Any] | None, task: TaskSpec) -> OwnLoss | None:
    """Return the loss that the section `loss` of a config names; None if it names none.

    Of two classes it warns if the loss reads the logits (B,) of a batch as the K logits of one example, as
    `torch.nn.CrossEntropyLoss` does without an error.
    """
    if not section or section.get("_target_") is None:
        return None
    loss: OwnLoss = instantiate({key: value for key, value in section.items() if key not in OPTIONS})
    if _is_binary(task) and _ignores_level(loss):
        log.warning(
            "loss._target_: %s is the same if all logits of a batch grow by 1. Data with two classes have "
            "one logit (B,) for each example: use binary_cross_entropy_with_logits and not cross_entropy "
            "(docs/extend/loss.md)",
            section["_target_"],
        )
    return loss


def _ignores_level(loss: OwnLoss) -> bool:
    """Return whether a loss of two classes compares the examples of a batch with each other only."""
    logits, classes = torch.tensor([-1.5, 0.25, 1.0, 3.0]), torch.tensor([0.0, 1.0, 1.0, 0.0])
    try:
        loss = copy.deepcopy(loss)  # one that keeps a state starts training with its own
        with torch.no_grad():
            before, after = loss(logits, classes), loss(logits + 1, classes)
    except Exception:  # a mistake of the loss is shown where the first batch raises it
        return False
    return isinstance(before, Tensor) and before.dim() == 0 and torch.allclose(before, after, rtol=1e-4)


def own_metric(section: Mapping[str, Any] | None, task: TaskSpec) -> OwnMetric | None:
    """Return the metric that the section `metric` of a config names; None if it names none.

    Its name is that of its class in snake case.

    Raises:
        ConfigError: It is no metric of torchmetrics, or the task generates sequences.
    """
    if not section or section.get("_target_") is None:
        return None
    if task.kind == "transduction":
        raise ConfigError(
            ["metric: these data have generated sequences, which only their own metrics compare"]
        )
    metric = instantiate(section)
    if not isinstance(metric, Metric):
        raise ConfigError([f"metric._target_: given {section['_target_']}, allowed: a torchmetrics.Metric"])
    return OwnMetric(snake_case(type(metric).__name__), metric)


def snake_case(name: str) -> str:
    """Return the name of a class in snake case: MulticlassAUROC becomes multiclass_auroc."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def minimised_by(loss: OwnLoss, objective: BaseObjective, values: Tensor, targets: Tensor) -> Tensor:
    """Return what the user's own loss minimises, for each example, of shape (B,).

    Args:
        loss: The loss.
        objective: Objective of the task.
        values: Outputs of the model's head.
        targets: Targets of the batch.

    Raises:
        ConfigError: The loss returns another shape than the module describes.
    """
    task, count = objective.task, len(values)
    if task.kind == "transduction":
        targets = first_answer(targets)
    scored = scored_steps(task, targets)
    given = (values, targets) if scored is None else (values[scored], targets[scored])
    result = loss(*_scaled(task, *given))
    if not isinstance(result, Tensor) or (result.dim() and len(result) != len(given[0])):
        shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        expected = f"one number, or one for each of {len(given[0])}"
        raise ConfigError([f"loss._target_: the loss returned {shape}, allowed: {expected}"])
    if result.dim() == 0:
        return result.expand(count)
    each = result.flatten(1).mean(1) if result.dim() > 1 else result
    if scored is None:
        return each
    return masked_mean(each.new_zeros(scored.shape).masked_scatter(scored, each), scored)


def metric_arguments(objective: BaseObjective, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the predictions and targets that the user's own metric is updated with."""
    task = objective.task
    if task.kind == "regression":
        predictions, true = objective.outcome(values, targets)
        return predictions, true
    scored = scored_steps(task, targets)
    if scored is not None:
        values, targets = values[scored], targets[scored]
    found = probabilities(task, values.float())
    return found[:, 1] if _is_binary(task) else found, targets.long()


def scored_steps(task: TaskSpec, targets: Tensor) -> Tensor | None:
    """Return (B, T) bool, true where a step or symbol counts; None if each sequence has one target."""
    if not task.every_step and task.kind != "transduction":
        return None
    scored = targets != IGNORE
    return scored.any(-1) if scored.dim() == 3 else scored


def _is_binary(task: TaskSpec) -> bool:
    return task.has_classes and task.output_size == 1


def _scaled(task: TaskSpec, values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the arguments of a loss from the outputs and targets that count."""
    if _is_binary(task):
        return values[:, 0], targets.to(values.dtype)
    if task.multilabel:
        return values, targets.to(values.dtype)
    if task.kind != "regression":
        return values, targets
    if task.output_size == 1:
        values = values[:, 0]
    scale = task.target_scale
    if scale is None:
        return values, targets
    if scale.log:
        values, targets = values.log(), targets.log()
    mean, deviation = (torch.as_tensor(part, device=values.device) for part in (scale.mean, scale.deviation))
    return (values - mean) / deviation, (targets - mean) / deviation
