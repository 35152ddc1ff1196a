"""The last map, from a vector a sequence (or a step) to what the task predicts."""

from __future__ import annotations

from torch import nn

from gatescope.sequences import TaskSpec


def make_head(task: TaskSpec, size: int, dropout: float = 0.0) -> nn.Module:
    """(…, size) -> (…, task.output_size): logits, or values for a regression."""
    linear = nn.Linear(size, task.output_size)
    return nn.Sequential(nn.Dropout(dropout), linear) if dropout else linear
