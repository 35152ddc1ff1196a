"""`gatescope.watch` against autograd through a loop over steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from unrolled import Unrolled

import gatescope

B, T, D, H = 3, 5, 4, 6
LENGTHS = [3, 5, 1]
KINDS = {
    "gru": (nn.GRU, {}),
    "lstm": (nn.LSTM, {}),
    "rnn": (nn.RNN, {}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
    "deep": (nn.GRU, {"num_layers": 2, "bidirectional": True, "bias": False}),
    "deep_lstm": (nn.LSTM, {"num_layers": 2, "bidirectional": True}),
    "projected": (nn.LSTM, {"proj_size": 2}),
    "deep_projected": (nn.LSTM, {"num_layers": 2, "bidirectional": True, "proj_size": 2}),
}


class Holder(nn.Module):
    """A module that a model holds somewhere inside."""

    def __init__(self, module: nn.RNNBase) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"rnn": module})

    def forward(self, *arguments: Any) -> Any:
        return self.encoder["rnn"](*arguments)


def built(kind: str, **options: Any) -> nn.RNNBase:
    torch.manual_seed(1)
    module, fixed = KINDS[kind]
    return module(D, H, **(fixed | options)).double()


def start(module: nn.RNNBase) -> tuple[Tensor, ...]:
    places = module.num_layers * (2 if module.bidirectional else 1)
    h = torch.randn(places, B, module.proj_size or H).double()
    return (h, torch.randn(places, B, H).double()) if module.mode == "LSTM" else (h,)


def loss_of(output: Tensor, last: tuple[Tensor, ...]) -> Tensor:
    """A loss at every step, at the last h and at the last c of every layer."""
    weights = torch.linspace(-1, 1, output.numel()).view_as(output).to(output)
    loss = (output * weights).sum() + output.square().sum()
    for part in last:
        loss = loss + part.pow(3).sum()
    return loss


def check(scope: Any, truth: Unrolled, memory: bool, lengths: list[int]) -> None:
    """Compare every state and its gradient with autograd; what is beyond an end is NaN."""
    watched = scope["encoder.rnn"]
    pairs = {"h": truth.h} | ({"c": truth.c} if memory else {})
    for part, tensors in pairs.items():
        states, grads = watched.states[part].values, watched.state_gradients[part].values
        valid = 0
        for (layer, direction, b, t), state in tensors.items():
            valid += 1
            torch.testing.assert_close(states[layer, direction, b, t], state.detach())
            torch.testing.assert_close(grads[layer, direction, b, t], state.grad, atol=1e-12, rtol=1e-9)
        assert valid * grads.shape[-1] == int(grads.isfinite().sum())
        if min(lengths) < T:
            assert grads[0, 0, 2, 1:].isnan().all()


@pytest.mark.parametrize("first_state", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_states_and_gradients_are_those_of_autograd(kind: str, packed: bool, first_state: bool) -> None:
    module = built(kind, batch_first=not packed)
    x, hx = torch.randn(B, T, D).double(), start(module) if first_state else None
    lengths = LENGTHS if packed else [T] * B
    truth = Unrolled(module, x, lengths, hx)
    memory = module.mode == "LSTM"
    loss_of(truth.output, truth.last if memory else truth.last[:1]).backward()

    given = (hx if memory else hx[0]) if hx else None
    inputs: Any = pack_padded_sequence(x.transpose(0, 1), torch.tensor(lengths), enforce_sorted=False)
    with gatescope.watch(Holder(module)) as scope:
        output, last = module(inputs if packed else x, given)
        if packed:
            output, _ = pad_packed_sequence(output, batch_first=True)
        loss_of(output, last if memory else (last,)).backward()
    check(scope, truth, memory, lengths)


def test_dropout_between_layers_is_repeated() -> None:
    """The gradient at the input, and at the weights, passes through every mask."""
    for kind in ("deep", "deep_lstm", "deep_projected"):
        for packed in (False, True):
            module = built(kind, dropout=0.5, batch_first=True)
            x = torch.randn(B, T, D).double().requires_grad_()
            inputs: Any = pack_padded_sequence(x, torch.tensor(LENGTHS), True, False) if packed else x
            with gatescope.watch(module) as scope:
                output = module(inputs)[0]
                (output.data if packed else output).square().sum().backward()
            watched = scope[type(module).__name__]
            assert watched.states_error < 1e-12
            layers = watched.layers
            below = [layers.traces[n].align_time(layers.adjoints[n].inputs) for n in layers.model.names(0)]
            torch.testing.assert_close(sum(below)[..., :D], x.grad)
