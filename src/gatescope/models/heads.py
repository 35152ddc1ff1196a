"""The output layer of an encoder."""

from __future__ import annotations

from torch import nn

from gatescope.sequences import TaskSpec


def make_head(task: TaskSpec, size: int, dropout: float = 0.0) -> nn.Module:
    """Build the map (…, size) -> (…, task.output_size): to logits, or to the values of a regression."""
    linear = nn.Linear(size, task.output_size)
    return nn.Sequential(nn.Dropout(dropout), linear) if dropout else linear
