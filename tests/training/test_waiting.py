"""Metrics whose outcomes wait, against the same metrics updated at every batch."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics import MeanAbsoluteError, MetricCollection
from torchmetrics.classification import BinaryAccuracy

from gatescope.training import waiting
from gatescope.training.waiting import WaitingMetrics


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), max_size=12), st.integers(1, 60))
def test_what_waited_counts_as_if_it_had_not(shapes: list[tuple[int, int]], enough: int) -> None:
    before, waiting.ENOUGH = waiting.ENOUGH, enough
    try:
        plain = MetricCollection({"error": MeanAbsoluteError()})
        ours = WaitingMetrics(MetricCollection({"error": MeanAbsoluteError()}), "train/")
        for batch, width in shapes:
            outcome = torch.randn(2, batch, *([width] if width else []))
            plain.update(*outcome)
            ours.update(*outcome)
        ours.flush()
    finally:
        waiting.ENOUGH = before
    if shapes:
        torch.testing.assert_close(ours.compute()["train/error"], plain.compute()["error"])


def test_small_outcomes_wait_and_large_ones_do_not() -> None:
    metrics = WaitingMetrics(MetricCollection({"accuracy": BinaryAccuracy()}), "train/")
    metrics.update(torch.ones(8), torch.ones(8, dtype=torch.long))
    assert metrics["accuracy"]._update_count == 0
    metrics.update(torch.zeros(waiting.ENOUGH), torch.ones(waiting.ENOUGH, dtype=torch.long))
    assert metrics["accuracy"]._update_count == 1
    metrics.flush()
    assert metrics["accuracy"]._update_count == 1
    torch.testing.assert_close(metrics.compute()["train/accuracy"], torch.tensor(8 / (8 + waiting.ENOUGH)))
