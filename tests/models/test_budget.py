"""Equal budgets: INSTRUMENTS.md §7."""

from __future__ import annotations

from functools import partial

import pytest
from torch import nn

from gatescope.cells.gru import GRU
from gatescope.cells.lstm import LSTM
from gatescope.cells.rnn import RNN
from gatescope.models.budget import hidden_size_for, stack_parameters


@pytest.mark.parametrize(("cell", "torch_module"), [(RNN, nn.RNN), (GRU, nn.GRU), (LSTM, nn.LSTM)])
def test_counts_are_those_of_torch(cell: type, torch_module: type) -> None:
    expected = sum(p.numel() for p in torch_module(7, 5, num_layers=2, bidirectional=True).parameters())
    assert stack_parameters(cell, 7, 5, 2, True) == expected


@pytest.mark.parametrize("budget", [5_000, 50_000, 200_000])
@pytest.mark.parametrize(("cell", "gates"), [(RNN, 1), (GRU, 3), (LSTM, 4)])
def test_within_one_percent_and_nearest(cell: type, gates: int, budget: int) -> None:
    def formula(h: int) -> int:
        return gates * (h * h + h * 64 + 2 * h)

    best = min(range(1, 800), key=lambda h: abs(formula(h) - budget))
    found = hidden_size_for(budget, cell, 64)
    assert found == best
    if budget >= 50_000:
        assert abs(formula(found) - budget) <= 0.01 * budget


def test_a_budget_below_one_unit_says_so() -> None:
    with pytest.raises(ValueError, match=r"model\.parameters=10 is below"):
        hidden_size_for(10, partial(GRU), 64)
