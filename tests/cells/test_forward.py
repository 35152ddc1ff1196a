"""The forward pass of every cell against a loop over `step`: values, gradients, padding, gates, memory."""

from __future__ import annotations

import pytest
import torch
from cell_reference import ANALYTIC, CELLS, TOLERANCE, layer_class, loop, loop_stack, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.cells.state import State
from gatescope.models.stack import RecurrentStack
from gatescope.sequences import valid_mask

LENGTHS = torch.tensor([11, 7, 4, 1])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("depth", "bidirectional"), [(1, False), (3, False), (2, True)])
def test_values_and_gradients_equal_the_loop(cell, dtype, depth, bidirectional):
    torch.manual_seed(0)
    stack = RecurrentStack(CELLS[cell], 3, 6, depth, bidirectional).to(dtype)
    x = torch.randn(4, 11, 3, dtype=dtype, requires_grad=True)
    expected, _ = loop_stack(stack, x, LENGTHS)
    found = stack(x, LENGTHS)
    assert relative_error(found, expected) < TOLERANCE[dtype]
    weight = torch.randn_like(found)
    wanted = [x, *stack.parameters()]
    # torch.nn.RNN ignores no parameter, and neither may we: allow_unused stays off.
    of_found = torch.autograd.grad((found * weight).sum(), wanted)
    of_expected = torch.autograd.grad((expected * weight).sum(), wanted)
    for a, b in zip(of_found, of_expected, strict=True):
        assert relative_error(a, b) < TOLERANCE[dtype]


@pytest.mark.parametrize("cell", CELLS)
@settings(deadline=None, max_examples=10)
@given(
    lengths=st.lists(st.integers(1, 8), min_size=1, max_size=5),
    garbage=st.floats(-1e3, 1e3),
    bidirectional=st.booleans(),
)
def test_a_padded_position_never_changes_a_valid_one(cell, lengths, garbage, bidirectional):
    torch.manual_seed(1)
    lengths = torch.tensor(lengths)
    steps = int(lengths.max()) + 2
    stack = RecurrentStack(CELLS[cell], 3, 4, 2, bidirectional)
    x = torch.randn(len(lengths), steps, 3)
    mask = valid_mask(lengths, steps)[..., None]
    clean, dirty = stack(x * mask, lengths), stack(torch.where(mask, x, garbage), lengths)
    assert torch.equal(clean, dirty)
    assert torch.equal(clean, clean * mask)


@pytest.mark.parametrize("cell", CELLS)
def test_equal_lengths_count_as_no_padding(cell):
    torch.manual_seed(2)
    layer, x = CELLS[cell](3, 4), torch.randn(2, 6, 3)
    full = layer(x, torch.tensor([6, 6]))
    assert full.lengths is None
    assert torch.equal(full.h, layer(x).h)


@pytest.mark.parametrize("cell", CELLS)
def test_a_given_state_continues_a_sequence(cell):
    torch.manual_seed(3)
    layer, x = CELLS[cell](3, 4).double(), torch.randn(2, 9, 3, dtype=torch.float64)
    whole, head = layer(x), layer(x[:, :5])
    tail = layer(x[:, 5:], state=layer.final(x[:, :5], head))
    torch.testing.assert_close(tail.h, whole.h[:, 5:])


@pytest.mark.parametrize("cell", CELLS)
def test_memory_and_final_state_equal_the_loop(cell):
    torch.manual_seed(4)
    layer, x = CELLS[cell](3, 6).double(), torch.randn(4, 11, 3, dtype=torch.float64)
    states = layer(x, LENGTHS)
    h, c = loop(layer, x)
    memory, final = layer.memory(x, states), layer.final(x, states)
    rows = range(len(LENGTHS))
    torch.testing.assert_close(
        final.h, torch.stack([h[n - 1][b] for b, n in zip(rows, LENGTHS, strict=True)])
    )
    assert (memory is not None) == layer.has_memory_cell == bool(c)
    if c:
        torch.testing.assert_close(memory, torch.stack(c, 1) * states.mask[..., None])
        expected = torch.stack([c[n - 1][b] for b, n in zip(rows, LENGTHS, strict=True)])
        torch.testing.assert_close(final.c, expected)


@pytest.mark.parametrize("cell", CELLS)
def test_gates_have_their_names_shapes_and_ranges(cell):
    torch.manual_seed(5)
    layer, x = CELLS[cell](3, 6), torch.randn(4, 11, 3)
    gates = layer.gates(x, layer(x, LENGTHS))
    assert set(gates) - {"keep", "candidate"} == set(layer.gate_names)
    assert all(values.shape == (4, 11, 6) for values in gates.values())
    for name in gates.keys() - {"candidate"}:
        assert bool(((gates[name] > 0) & (gates[name] < 1)).all())


@pytest.mark.parametrize("cell", [*(name for name in ANALYTIC if layer_class(name).gate_names), "rglru"])
def test_gates_rebuild_the_states(cell):
    torch.manual_seed(5)
    layer, x = CELLS[cell](3, 6).double(), torch.randn(4, 11, 3, dtype=torch.float64)
    states = layer(x, LENGTHS)
    gates = layer.gates(x, states)
    assert set(gates) == {*layer.gate_names, "keep", "candidate"}
    written = gates["input" if "input" in gates else "update"] * gates["candidate"]
    state = torch.zeros(4, 6, dtype=torch.float64)
    for t in range(11):
        state = gates["keep"][:, t] * state + written[:, t]
        h = gates["output"][:, t] * torch.tanh(state) if "output" in gates else state
        valid = t < LENGTHS
        torch.testing.assert_close(states.h[valid, t], h[valid])


@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_of_one_step(cell):
    torch.manual_seed(6)
    layer, x = CELLS[cell](3, 4), torch.randn(1, 1, 3)
    expected = layer.step(x[:, 0], layer.zero_state(x))
    torch.testing.assert_close(layer(x, torch.tensor([1])).h[:, 0], expected.h)


@pytest.mark.parametrize("cell", ["mingru", "minlstm"])
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_the_scan_keeps_float32_over_long_sequences_and_closed_gates(cell, scale):
    torch.manual_seed(7)
    layer, x = CELLS[cell](4, 8), torch.randn(2, 600, 4) * scale
    expected = torch.stack(loop(layer.double(), x.double())[0], dim=1)
    torch.testing.assert_close(layer.float()(x).h.double(), expected, rtol=2e-5, atol=1e-7)


def test_the_scan_takes_a_state_of_any_sign():
    torch.manual_seed(8)
    layer, x = CELLS["mingru"](3, 4).double(), torch.randn(2, 1, 3, dtype=torch.float64)
    state = State(torch.randn(2, 4, dtype=torch.float64))
    torch.testing.assert_close(layer(x, state=state).h[:, 0], layer.step(x[:, 0], state).h)
