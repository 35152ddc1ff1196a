"""Buffered metrics, compared with the same metrics updated with every batch."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics import MeanAbsoluteError, MetricCollection
from torchmetrics.classification import BinaryAccuracy

from gatescope.training import buffered_metrics
from gatescope.training.buffered_metrics import BUFFER_SIZE, BufferedMetrics


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), max_size=12), st.integers(1, 60))
def test_buffered_updates_give_the_same_metrics(shapes: list[tuple[int, int]], size: int) -> None:
    buffered_metrics.BUFFER_SIZE = size
    try:
        plain = MetricCollection({"error": MeanAbsoluteError()})
        buffered = BufferedMetrics(MetricCollection({"error": MeanAbsoluteError()}), "train/")
        for batch, width in shapes:
            arguments = torch.randn(2, batch, *([width] if width else []))
            plain.update(*arguments)
            buffered.update(*arguments)
        buffered.flush()
    finally:
        buffered_metrics.BUFFER_SIZE = BUFFER_SIZE
    if shapes:
        torch.testing.assert_close(buffered.compute()["train/error"], plain.compute()["error"])


def test_small_batches_are_buffered_and_large_ones_are_not() -> None:
    metrics = BufferedMetrics(MetricCollection({"accuracy": BinaryAccuracy()}), "train/")
    metrics.update(torch.ones(8), torch.ones(8, dtype=torch.long))
    assert metrics["accuracy"].update_count == 0
    metrics.update(torch.zeros(BUFFER_SIZE), torch.ones(BUFFER_SIZE, dtype=torch.long))
    assert metrics["accuracy"].update_count == 1
    metrics.flush()
    assert metrics["accuracy"].update_count == 1
    torch.testing.assert_close(metrics.compute()["train/accuracy"], torch.tensor(8 / (8 + BUFFER_SIZE)))
