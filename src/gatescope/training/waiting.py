"""Metrics of training batches, updated once for several of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection

ENOUGH = 4096
"""Numbers that are worth an update: it costs as much for a hundred as for one."""


class WaitingMetrics(MetricCollection):
    """Like the metrics that it takes, once what waits has been `flush`ed: before anything else is asked of
    them.

    Outcomes that are not tensors, or not of one shape an example, do not wait.
    """

    def __init__(self, metrics: MetricCollection, prefix: str) -> None:
        super().__init__(dict(metrics.items()), prefix=prefix, compute_groups=False)
        self.waiting: list[list[Tensor]] = []
        """Outcomes of batches, oldest first."""

    def update(self, *outcome: Any) -> None:
        if not all(isinstance(part, Tensor) for part in outcome):
            return super().update(*outcome)
        if self.waiting and list(_shapes(self.waiting[0])) != list(_shapes(outcome)):
            self.flush()
        self.waiting.append(list(outcome))
        if len(self.waiting) * sum(part.numel() for part in outcome) >= ENOUGH:
            self.flush()

    def flush(self) -> None:
        """Gives the metrics what waits."""
        if self.waiting:
            super().update(*(torch.cat(parts) for parts in zip(*self.waiting, strict=True)))
            self.waiting.clear()


def _shapes(outcome: Any) -> Iterator[torch.Size]:
    """Of one example."""
    return (part.shape[1:] for part in outcome)
