"""The stack against torch's deep and bidirectional modules on packed sequences."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gatescope.cells.gru import GRU
from gatescope.cells.lstm import LSTM
from gatescope.cells.rnn import RNN
from gatescope.models.stack import RecurrentStack

LENGTHS = torch.tensor([4, 9, 1, 6])
PAIRS = {
    "rnn": (RNN, nn.RNN),
    "relu": (partial(RNN, nonlinearity="relu"), partial(nn.RNN, nonlinearity="relu")),
    "gru": (GRU, nn.GRU),
    "lstm": (LSTM, nn.LSTM),
}


def torch_twin(make, stack, depth, bidirectional):
    twin = make(3, 5, num_layers=depth, bidirectional=bidirectional, batch_first=True).double()
    with torch.no_grad():
        for name, layer in stack.layers.items():
            number, _, backward = name.removeprefix("layer").partition("_")
            suffix = f"l{number}" + ("_reverse" if backward else "")
            for kind, value in zip(
                ("weight_ih", "weight_hh", "bias_ih", "bias_hh"), layer.weights, strict=True
            ):
                getattr(twin, f"{kind}_{suffix}").copy_(value)
    return twin


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("depth", "bidirectional"), [(1, False), (1, True), (3, False), (3, True)])
def test_states_and_gradients_equal_torch(name, depth, bidirectional):
    torch.manual_seed(0)
    ours, theirs = PAIRS[name]
    stack = RecurrentStack(ours, 3, 5, depth, bidirectional).double()
    twin = torch_twin(theirs, stack, depth, bidirectional)
    x = torch.randn(4, 9, 3, dtype=torch.float64, requires_grad=True)
    found = stack(x, LENGTHS)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(twin(packed)[0], batch_first=True)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(found)
    (of_found,) = torch.autograd.grad((found * weight).sum(), x)
    (of_expected,) = torch.autograd.grad((expected * weight).sum(), x)
    torch.testing.assert_close(of_found, of_expected)


def test_a_trace_has_every_layer_in_its_own_time_order():
    torch.manual_seed(1)
    stack = RecurrentStack(GRU, 3, 5, layers=2, bidirectional=True)
    x = torch.randn(4, 9, 3)
    output, traces = stack.trace(x, LENGTHS)
    assert list(traces) == ["layer0", "layer0_backward", "layer1", "layer1_backward"]
    assert torch.equal(output, stack(x, LENGTHS))
    assert torch.equal(output[..., :5], traces["layer1"].states.h)
    # A backward layer's first step is the sequence's last.
    assert torch.equal(traces["layer0_backward"].x[0, 0], x[0, LENGTHS[0] - 1])
    assert torch.equal(traces["layer1_backward"].states.h[1, 8], output[1, 0, 5:])


@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_acts_between_layers_only(layers):
    torch.manual_seed(2)
    stack = RecurrentStack(GRU, 3, 5, layers=layers, dropout=0.5)
    x = torch.randn(2, 6, 3)
    first, second = stack(x), stack(x)
    assert torch.equal(first, second) == (layers == 1)
    stack.eval()
    assert torch.equal(stack(x), stack(x))


def test_the_adjoint_does_not_change_the_model():
    torch.manual_seed(3)
    stack = RecurrentStack(LSTM, 3, 5, layers=2, bidirectional=True)
    before = {name: value.clone() for name, value in stack.state_dict().items()}
    output, traces = stack.trace(torch.randn(4, 9, 3), LENGTHS)
    adjoints = stack.adjoint(traces, torch.ones_like(output), renormalise=True)
    assert all(p.grad is None for p in stack.parameters())
    assert all(torch.equal(value, before[name]) for name, value in stack.state_dict().items())
    assert not any(a.h.requires_grad or a.inputs.requires_grad for a in adjoints.values())


def test_a_deep_stack_does_not_underflow_between_layers():
    """The lower layer's output gradient is far below float32 where the upper layer's lag is long."""
    torch.manual_seed(4)
    stack = RecurrentStack(GRU, 3, 6, layers=2, bidirectional=True)
    x = torch.randn(2, 300, 3)
    lengths = torch.tensor([300, 290])
    output, traces = stack.trace(x, lengths)
    direct = torch.zeros_like(output)
    direct[torch.arange(2), lengths - 1, :6] = 1.0
    found = stack.adjoint(traces, direct, renormalise=True)["layer0"]
    stack.double()
    traces64 = stack.trace(x.double(), lengths)[1]
    expected = stack.adjoint(traces64, direct.double())["layer0"].h
    valid = expected.norm(dim=-1) > 0
    logs = found.h.double().norm(dim=-1).log() + found.log_scale
    truth = expected.norm(dim=-1).log()
    assert float(truth[valid].min()) < -100
    torch.testing.assert_close(logs[valid], truth[valid], atol=1e-2, rtol=0)
