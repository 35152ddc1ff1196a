"""Training metrics that are updated once for several batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection

BUFFER_SIZE = 4096
"""Number of buffered values that triggers an update; updating with a hundred costs as much as with one."""


class BufferedMetrics(MetricCollection):
    """A `MetricCollection` that collects small batches and updates its metrics with several of them at once.

    Call `flush` before `compute`, `reset` or any other use of the metrics. Arguments of `update` that are not
    tensors are passed on immediately, and a change of the shape per example flushes the buffer.

    Args:
        metrics: The metrics to update.
        prefix: Prefix of their names.
    """

    def __init__(self, metrics: MetricCollection, prefix: str) -> None:
        super().__init__(dict(metrics.items()), prefix=prefix, compute_groups=False)
        self.buffer: list[list[Tensor]] = []
        """Arguments of the updates that are outstanding, oldest first."""

    def update(self, *arguments: Any) -> None:
        """Buffer the arguments of one batch, and flush the buffer when it is full."""
        if not all(isinstance(part, Tensor) for part in arguments):
            return super().update(*arguments)
        if self.buffer and list(_example_shapes(self.buffer[0])) != list(_example_shapes(arguments)):
            self.flush()
        self.buffer.append(list(arguments))
        if len(self.buffer) * sum(part.numel() for part in arguments) >= BUFFER_SIZE:
            self.flush()

    def flush(self) -> None:
        """Update the metrics with all buffered batches."""
        if self.buffer:
            super().update(*(torch.cat(parts) for parts in zip(*self.buffer, strict=True)))
            self.buffer.clear()


def _example_shapes(arguments: Any) -> Iterator[torch.Size]:
    """Yield the shape of one example of each argument."""
    return (part.shape[1:] for part in arguments)
