"""Traces of layers: lengths, and the conversion between time orders."""

from __future__ import annotations

import pytest
import torch

from gatescope.cells.gru import GRU
from gatescope.models.stack import RecurrentStack


@pytest.mark.parametrize("lengths", [None, torch.tensor([4, 2, 1])])
def test_time_orders_are_converted_and_back(lengths: torch.Tensor | None) -> None:
    stack = RecurrentStack(GRU, 3, 5, bidirectional=True)
    x = torch.randn(3, 4, 3)
    output, traces = stack.trace(x, lengths)
    forward, backward = traces["layer0"], traces["layer0_backward"]
    valid = torch.tensor([4, 4, 4]) if lengths is None else lengths
    assert forward.lengths.tolist() == backward.lengths.tolist() == valid.tolist()
    assert torch.equal(forward.align_time(x), x)
    assert torch.equal(backward.align_time(x), backward.x)
    assert torch.equal(backward.align_time(backward.states.h), output[..., 5:])
    assert torch.equal(backward.align_time(backward.align_time(x[..., 0])), x[..., 0]), "also (B, T)"
