"""The exact adjoint of every cell against autograd through a loop over `step`."""

from __future__ import annotations

import math

import pytest
import torch
from cell_reference import ANALYTIC, CELLS, TOLERANCE, gradients, loop_stack, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.cells.rnn import RNN
from gatescope.cells.state import State
from gatescope.cells.tensors import shift
from gatescope.models.attention import last_state
from gatescope.models.stack import RecurrentStack

LOSSES = ("every step", "last state", "both")


def loss_of(kind, output, lengths, bidirectional, weight):
    every = (torch.tanh(output) * weight).sum()
    last = (last_state(output, lengths, bidirectional) * weight[:, 0]).pow(2).sum()
    return {"every step": every, "last state": last, "both": every + last}[kind]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("cell", CELLS)
@settings(deadline=None, max_examples=8)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    depth=st.integers(1, 3),
    bidirectional=st.booleans(),
    kind=st.sampled_from(LOSSES),
    renormalise=st.booleans(),
)
def test_adjoint_equals_autograd_through_time(cell, dtype, lengths, depth, bidirectional, kind, renormalise):
    torch.manual_seed(0)
    lengths = torch.tensor(lengths)
    stack = RecurrentStack(CELLS[cell], 3, 4, depth, bidirectional).to(dtype)
    x = torch.randn(len(lengths), int(lengths.max()), 3, dtype=dtype, requires_grad=True)
    output, steps = loop_stack(stack, x, lengths)
    weight = torch.randn_like(output)
    loss_of(kind, output, lengths, bidirectional, weight).backward()

    fused, traces = stack.trace(x.detach(), lengths)
    leaf = fused.detach().requires_grad_()
    (direct,) = torch.autograd.grad(loss_of(kind, leaf, lengths, bidirectional, weight), leaf)
    adjoints = stack.adjoint(traces, direct, renormalise=renormalise)

    tolerance = TOLERANCE[dtype]
    assert list(adjoints) == list(stack.layers)
    for name, (h, c) in steps.items():
        adjoint, trace = adjoints[name], traces[name]
        scale = adjoint.log_scale.exp()[..., None]
        assert relative_error(adjoint.h * scale, gradients(h)) < tolerance
        assert (adjoint.c is not None) == bool(c)
        if c:
            assert relative_error(adjoint.c * scale, gradients(c)) < tolerance
        if cell not in ANALYTIC:
            continue
        layer = trace.cell
        deltas = (adjoint.deltas * scale).to(dtype)
        of_inputs = torch.einsum("btc,btd->cd", deltas, trace.x)
        assert relative_error(of_inputs, layer.input_weights.grad) < tolerance
        if layer.recurrent_weights is not None:
            recurrent = (adjoint.recurrent_deltas * scale).to(dtype)
            of_states = torch.einsum("btc,bth->ch", recurrent, trace.states.previous_h)
            assert relative_error(of_states, layer.recurrent_weights.grad) < max(tolerance, 1e-10)
    below = [
        input_time(traces[name], adjoints[name].inputs * adjoints[name].log_scale.exp()[..., None], lengths)
        for name in ("layer0", "layer0_backward")[: stack.directions]
    ]
    assert relative_error(sum(below), x.grad) < tolerance


def input_time(trace, values, lengths):
    if not trace.backward:
        return values
    reversed_values = torch.zeros_like(values)
    for b, n in enumerate(lengths):
        reversed_values[b, :n] = values[b, :n].flip(0)
    return reversed_values


def linearised(cell):
    torch.manual_seed(1)
    layer = CELLS[cell](3, 6).double()
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    states = layer(x)
    c = layer.memory(x, states)
    zero = layer.zero_state(x)
    before = State(states.previous_h, None if c is None else shift(c, zero.c))
    return layer, x, before, layer.linearise(x, states)


def random_like(state):
    return State(torch.randn_like(state.h), None if state.c is None else torch.randn_like(state.c))


def inner(a, b):
    return (a.h * b.h).sum(-1) + (0 if a.c is None else (a.c * b.c).sum(-1))


@pytest.mark.parametrize("cell", CELLS)
def test_vjp_and_jvp_are_transposes_at_every_step(cell):
    _, _, before, saved = linearised(cell)
    layer = linearised(cell)[0]
    u, v = random_like(before), random_like(before)
    torch.testing.assert_close(inner(v, layer.jvp(u, saved)), inner(layer.vjp(v, saved).previous, u))


@pytest.mark.parametrize("cell", CELLS)
def test_jvp_is_the_derivative_of_step(cell):
    layer, x, before, saved = linearised(cell)
    u = random_like(before)
    found = layer.jvp(u, saved)
    parts = [part for part in before if part is not None]
    for t in range(x.shape[1]):

        def one_step(*state, t=t):
            return tuple(part for part in layer.step(x[:, t], State(*state)) if part is not None)

        at, along = tuple(p[:, t] for p in parts), tuple(p[:, t] for p in u if p is not None)
        _, expected = torch.autograd.functional.jvp(one_step, at, along)
        torch.testing.assert_close(found.h[:, t], expected[0])
        if found.c is not None:
            torch.testing.assert_close(found.c[:, t], expected[1])


@pytest.mark.parametrize("cell", ["rnn", "gru", "gru_article", "lstm", "peephole_lstm", "mingru", "minlstm"])
def test_a_long_lag_keeps_its_logarithm_in_float32(cell):
    torch.manual_seed(2)
    layer, x = CELLS[cell](3, 8), torch.randn(2, 500, 3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(0.8)
    direct = torch.zeros(2, 500, 8)
    direct[:, -1] = torch.randn(2, 8)
    found = layer.adjoint(x, layer(x), direct, renormalise=True)
    layer = layer.double()
    expected = layer.adjoint(x.double(), layer(x.double()), direct.double())
    whole = [found.h] if found.c is None else [found.h, found.c]
    logs = torch.cat(whole, -1).double().norm(dim=-1).log() + found.log_scale
    whole = [expected.h] if expected.c is None else [expected.h, expected.c]
    truth = torch.cat(whole, -1).norm(dim=-1).log()
    # Below this the squares in float64's norm underflow; float32's own range would prove nothing.
    valid = truth > math.log(torch.finfo(torch.float64).tiny) / 2 + 10
    assert float(truth[valid].min()) < math.log(torch.finfo(torch.float32).tiny) - 20
    torch.testing.assert_close(logs[valid], truth[valid], atol=5e-3, rtol=0)
    assert bool(torch.isfinite(logs).all())


def test_an_exploding_lag_keeps_its_logarithm_and_a_tiny_output_gradient_stays_finite():
    layer = RNN(2, 6, initialisation="orthogonal")
    with torch.no_grad():
        layer.recurrent_weights.mul_(2.0)
    x = torch.zeros(1, 300, 2)
    direct = torch.full((1, 300, 6), 1e-42)
    direct[:, -1] = torch.nn.functional.normalize(torch.ones(6), dim=0)
    found = layer.adjoint(x, layer(x), direct, renormalise=True)
    logs = found.h.norm(dim=-1).double().log() + found.log_scale
    expected = math.log(2) * torch.arange(299, -1, -1, dtype=torch.float64)
    torch.testing.assert_close(logs[0], expected, atol=1e-3, rtol=0)


def test_an_output_gradient_below_float32_is_kept_after_all_others_have_vanished():
    torch.manual_seed(3)
    layer, x = CELLS["gru"](2, 6), torch.randn(1, 400, 2)
    direct = torch.zeros(1, 400, 6)
    direct[:, -1], direct[:, 50] = 1.0, 1e-42
    found = layer.adjoint(x, layer(x), direct, renormalise=True)
    subnormal = math.log(float(direct[0, 50].double().norm()))
    log = float(found.h[0, 50].norm().double().log() + found.log_scale[0, 50])
    assert log == pytest.approx(subnormal, abs=0.1)
    assert all(bool(torch.isfinite(v).all()) for v in (found.h, found.inputs, found.deltas, found.log_scale))


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_loss_that_no_state_reaches_is_exactly_zero(cell, renormalise):
    layer, x = CELLS[cell](2, 4), torch.randn(2, 5, 2)
    found = layer.adjoint(x, layer(x), torch.zeros(2, 5, 4), renormalise=renormalise)
    deltas = (found.deltas, found.recurrent_deltas) if cell in ANALYTIC else ()
    for value in (found.h, found.inputs, found.log_scale, *deltas):
        assert not bool(value.any())


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "rglru"])
def test_gradients_at_padding_are_ignored(cell, renormalise):
    layer, x, lengths = CELLS[cell](2, 4), torch.randn(2, 5, 2), torch.tensor([5, 2])
    direct = torch.randn(2, 5, 4)
    clean = layer.adjoint(x, layer(x, lengths), direct, renormalise=renormalise)
    direct[1, 2:] = torch.nan
    dirty = layer.adjoint(x, layer(x, lengths), direct, renormalise=renormalise)
    assert torch.equal(clean.h, dirty.h)
    assert not bool(dirty.h[1, 2:].any())
