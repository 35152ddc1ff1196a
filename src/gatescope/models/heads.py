"""The output layer of an encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatescope.sequences import TargetScale, TaskSpec

LARGEST_LOGARITHM = 80.0
"""Bound of logarithms, so that e to their power and its inverse are finite in float32."""


class OriginalUnit(nn.Module):
    """From the standardised scale, on which a model learns a regression, to the unit of the targets.

    The scale is part of the saved weights.

    Args:
        scale: The scale.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, scale: TargetScale) -> None:
        super().__init__()
        self.log = scale.log
        self.register_buffer("mean", torch.tensor(scale.mean))
        self.register_buffer("deviation", torch.tensor(scale.deviation))

    def forward(self, values: Tensor) -> Tensor:
        """Return values of any shape in the unit of the targets."""
        values = values * self.deviation + self.mean
        return values.clamp(-LARGEST_LOGARITHM, LARGEST_LOGARITHM).exp() if self.log else values


def make_head(task: TaskSpec, size: int, dropout: float = 0.0) -> nn.Module:
    """Build the map (…, size) -> (…, task.output_size): to logits, or to the values of a regression.

    With a scale of the targets, the bias starts at 0, their mean.
    """
    linear = nn.Linear(size, task.output_size)
    layers: list[nn.Module] = [nn.Dropout(dropout), linear] if dropout else [linear]
    if task.target_scale is not None:
        nn.init.zeros_(linear.bias)
        layers.append(OriginalUnit(task.target_scale))
    return nn.Sequential(*layers) if len(layers) > 1 else linear
