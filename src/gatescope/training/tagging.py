"""A tag of each step: cross-entropy over the valid steps; F1 of spans if the tags mark some."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from gatescope.data.encoding.spans import span_counts, span_types
from gatescope.sequences import IGNORE
from gatescope.training import next_step


class SpanF1(Metric):
    """F1 of spans over all sequences, micro-averaged over types, as seqeval computes it; 0 without spans.

    Args:
        tags: Names of the tags.
        kwargs: Arguments of `torchmetrics.Metric`.
    """

    full_state_update = False
    higher_is_better = True
    counts: Tensor

    def __init__(self, tags: tuple[str, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tags = tags
        self.add_state("counts", torch.zeros(3, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, values: Tensor, targets: Tensor) -> None:
        """Add the spans of a batch; logits are (B, K, T), targets (B, T)."""
        counts = spans_of_batch(values.argmax(1), targets, self.tags).sum((0, 2))
        self.counts += torch.from_numpy(counts).to(self.counts.device)

    def compute(self) -> Tensor:
        """Return the F1, of shape ()."""
        both, predicted, true = self.counts
        return 2 * both / (predicted + true).clamp(min=1)


class Objective(next_step.Objective):
    """Cross-entropy, with accuracy over all steps, and span_f1 if the tags mark spans."""

    @property
    def has_spans(self) -> bool:
        """Whether the tags mark spans."""
        return self.task.metric == "span_f1"

    def metrics(self) -> MetricCollection:
        """Return accuracy, and span_f1 if the tags mark spans."""
        metrics = super().metrics()
        if self.has_spans:
            metrics.add_metrics({"span_f1": SpanF1(self.task.labels)})
        return metrics

    def training_metrics(self) -> MetricCollection:
        """Return accuracy."""
        return super().metrics()

    def columns(self, values: Tensor, targets: Tensor, outcome: tuple[Any, Any]) -> dict[str, Any]:
        """Return the numbers of correct and of scored steps, and of spans in both, predicted and true."""
        columns = super().columns(values, targets, outcome)
        if self.has_spans:
            counts = spans_of_batch(values.argmax(-1), targets, self.task.labels).sum(2)
            columns |= dict(zip(("span_hits", "span_predictions", "spans"), counts.T, strict=True))
        return columns


def spans_of_batch(predicted: Tensor, targets: Tensor, tags: tuple[str, ...]) -> np.ndarray:
    """Return `span_counts` of each sequence, of shape (B, 3, number of types).

    Args:
        predicted: (B, T) indices of the predicted tags.
        targets: (B, T) indices of the true tags; IGNORE is padding.
        tags: Names of the tags.
    """
    types, rows = span_types(tags), []
    for guess, true in zip(predicted.cpu(), targets.cpu(), strict=True):
        valid = true != IGNORE
        names, found = ([tags[i] for i in part[valid].tolist()] for part in (true, guess))
        rows.append(span_counts(names, found, types))
    return np.stack(rows)
