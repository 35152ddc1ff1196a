"""A traced pass has the same states, gates and adjoint as the forward pass."""

from __future__ import annotations

import pytest
import torch
from cell_reference import ANALYTIC, CELLS, TOLERANCE, relative_error


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("cell", CELLS)
def test_trace_equals_forward(cell, dtype):
    torch.manual_seed(0)
    layer = CELLS[cell](3, 6).to(dtype)
    lengths = torch.tensor([7, 4, 1])
    x = torch.randn(3, 7, 3, dtype=dtype)
    direct = torch.randn(3, 7, 6, dtype=dtype)
    with torch.no_grad():
        traced, plain = layer.trace(x, lengths), layer(x, lengths)
    tolerance = TOLERANCE[dtype]
    valid = plain.mask
    assert relative_error(traced.h, plain.h) < tolerance
    assert not bool(traced.h[~valid].any())
    memory = layer.memory(x, plain)
    if memory is not None:
        assert relative_error(layer.memory(x, traced), memory) < tolerance
    with torch.no_grad():
        for gate, values in layer.gates(x, plain).items():
            assert relative_error(layer.gates(x, traced)[gate][valid], values[valid]) < tolerance
    found, expected = (layer.adjoint(x, states, direct) for states in (traced, plain))
    assert relative_error(found.h, expected.h) < tolerance
    if cell in ANALYTIC:
        assert relative_error(found.deltas, expected.deltas) < tolerance
    assert relative_error(found.inputs, expected.inputs) < tolerance


@pytest.mark.parametrize("cell", CELLS)
def test_trace_under_autograd_has_a_graph(cell):
    x = torch.randn(2, 4, 3, requires_grad=True)
    layer = CELLS[cell](3, 6)
    layer.trace(x).h.sum().backward()
    assert x.grad is not None
