"""Findings on the gradients of trained runs, with dead gradients among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from conftest import Compose

from gatescope.analysis.comparison import compare
from gatescope.analysis.figures import load
from gatescope.analysis.report.findings.vanishing_gradients import findings
from gatescope.analysis.runs import RecordSource
from gatescope.cells.irnn import IRNN
from gatescope.run import run


class ShutIRNN(IRNN):
    """An IRNN whose units are all off in runs with an odd seed: its gradient is exactly 0 from lag 1 on."""

    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__(input_size, hidden_size, **options)
        if torch.initial_seed() % 2 == 0:
            return
        with torch.no_grad():
            for bias in self.weights[2:]:
                bias.fill_(-9.0)


def test_a_run_with_a_dead_gradient_is_listed_and_not_averaged(small: Compose, tmp_path: Path) -> None:
    # An IRNN with one seed whose gradient keeps its norm and one whose gradient is dead, and a GRU.
    for seed in range(2):
        cell = f"model.cell._target_={__name__}.ShutIRNN"
        run(small("study.name=lost", "model=irnn", f"seed={seed}", cell))
        run(small("study.name=lost", "model=gru", f"seed={seed}"))
    comparison = compare(RecordSource(tmp_path, "lost").tables())
    written = findings(comparison)
    text = "\n".join(written.paragraphs)
    assert "the gradient decays most slowly in **GRU** (λ" in text
    assert "Not ranked: IRNN (1 of 2 dead)." in text
    (row,) = [line for line in text.splitlines() if line.startswith("| IRNN |")]
    assert row.endswith("| 1 (initialisation: 1 of 2 dead; tested weights: 1 of 2 dead) |")
    assert written.headline.startswith("After training, a gradient halves in 1.5")
    numbers = load("vanishing_curves").numbers(comparison).set_index(["variant", "time"]).sort_index()
    assert set(numbers.loc[("irnn-none", "tested weights")].dead) == {1}
    assert set(numbers.loc[("irnn-none", "tested weights")].n) == {1}
