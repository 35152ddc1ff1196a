"""Gates and adjoints collected from a training pass, against autograd through a loop over `step`."""

from __future__ import annotations

import pytest
import torch
from cell_reference import (
    ANALYTIC,
    CELLS,
    NATIVE,
    TOLERANCE,
    WITH_KERNEL,
    gradients,
    loop_stack,
    relative_error,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.models.attention import last_state
from gatescope.models.stack import RecurrentStack
from gatescope.sequences import valid_mask


def stack_of(cell, kernel, dtype, depth=1, bidirectional=False, dropout=0.0):
    stack = RecurrentStack(CELLS[cell], 3, 4, depth, bidirectional, dropout).to(dtype)
    if cell in NATIVE:
        for layer in stack.layers.values():
            layer.kernel = kernel
    return stack


@pytest.mark.parametrize(("cell", "kernel"), WITH_KERNEL)
@settings(deadline=None, max_examples=6)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    depth=st.integers(1, 2),
    bidirectional=st.booleans(),
    dtype=st.sampled_from(list(TOLERANCE)),
)
def test_gates_and_gradients_at_all_states_are_collected(cell, kernel, lengths, depth, bidirectional, dtype):
    torch.manual_seed(0)
    lengths = torch.tensor(lengths)
    stack = stack_of(cell, kernel, dtype, depth, bidirectional)
    x = torch.randn(len(lengths), int(lengths.max()), 3, dtype=dtype)
    output, steps = loop_stack(stack, x, lengths)
    weight, valid = torch.randn_like(output), valid_mask(lengths, x.shape[1])
    of_ends = torch.randn_like(output[:, 0])
    ends = last_state(output, lengths, bidirectional)
    ((torch.tanh(output) * weight).sum() + (ends * of_ends).sum()).backward()
    expected = {name: (gradients(h), gradients(c) if c else None) for name, (h, c) in steps.items()}
    _, traces = stack.trace(x, lengths)
    stack.zero_grad()

    stack.record_gradients()
    output, last = stack.run(x, lengths)
    assert (last is not None) == (kernel == "native")
    ends = last_state(output, lengths, bidirectional) if last is None else last
    ((torch.tanh(output) * weight).sum() + (ends * of_ends).sum()).backward()
    collected = stack.collect_gradients()

    assert stack.recorded is None
    assert list(collected) == list(stack.layers)
    for name, (h, c) in expected.items():
        result = collected[name]
        assert relative_error(result.adjoint.h, h) < TOLERANCE[dtype]
        if c is not None:
            assert relative_error(result.adjoint.c, c) < TOLERANCE[dtype]
        for gate, values in traces[name].cell.gates(traces[name].x, traces[name].states).items():
            assert relative_error(result.gates[gate][valid], values[valid].detach()) < TOLERANCE[dtype]
        if cell in ANALYTIC:
            of_inputs = torch.einsum("btc,btd->cd", result.adjoint.deltas, result.trace.x)
            assert relative_error(of_inputs, result.trace.cell.input_weights.grad) < TOLERANCE[dtype]
        assert not result.trace.states.h.requires_grad


@pytest.mark.parametrize("kernel", ["native", "torch"])
def test_recording_changes_no_bit_of_the_gradients(kernel):
    torch.manual_seed(1)
    stack = stack_of("gru", kernel, torch.float32, depth=2, dropout=0.4)
    x, found = torch.randn(5, 7, 3), []
    for recorded in (None, {}):
        torch.manual_seed(2)
        stack.zero_grad()
        stack.recorded = recorded
        stack(x, torch.tensor([7, 3, 1, 6, 7])).square().sum().backward()
        stack.collect_gradients()
        found.append([parameter.grad.clone() for parameter in stack.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("kernel", ["native", "torch"])
def test_a_layer_without_gradient_is_left_out(kernel):
    stack = stack_of("lstm", kernel, torch.float32, depth=2)
    for parameter in stack.layers["layer0"].parameters():
        parameter.requires_grad_(False)
    stack.record_gradients()
    stack(torch.randn(2, 4, 3)).sum().backward()
    assert list(stack.collect_gradients()) == ["layer1"]


def test_a_pass_that_is_not_recorded_keeps_no_buffers():
    stack = stack_of("gru", "native", torch.float32)
    x = torch.randn(2, 4, 3)
    states = stack.layers["layer0"](x)
    states.h.sum().backward()
    assert states.cache.saved.forward is None
    assert states.cache.saved.backward is None
    assert stack.collect_gradients() == {}


def test_a_pass_without_autograd_is_not_recorded():
    stack = stack_of("gru", "native", torch.float32)
    stack.record_gradients()
    with torch.no_grad():
        stack(torch.randn(2, 4, 3))
    assert stack.collect_gradients() == {}
