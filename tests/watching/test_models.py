"""Models as users write them: packed classifiers, decoders, language models, wrappers, lower precision."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint
from unrolled import Unrolled

import gatescope
from gatescope.instruments.attention import AttentionStatistics
from gatescope.instruments.jacobian import JacobianNorms
from gatescope.instruments.lyapunov import LyapunovSpectrum
from gatescope.instruments.measurements import Curve, Scalar
from gatescope.instruments.memory import Retention
from gatescope.watching.errors import WatchError


class PackedClassifier(nn.Module):
    """Embedding, packed bidirectional LSTM, last states, linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 4, padding_idx=0)
        self.lstm = nn.LSTM(4, 5, num_layers=2, bidirectional=True, dropout=0.3, batch_first=True)
        self.fc = nn.Linear(10, 2)

    def forward(self, text: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(text), lengths, batch_first=True, enforce_sorted=False)
        _, (hidden, _) = self.lstm(packed)
        return self.fc(torch.cat([hidden[-2], hidden[-1]], dim=1))


class Translator(nn.Module):
    """An encoder, and a decoder that is called once for each symbol."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"embedding": nn.Embedding(9, 3), "rnn": nn.GRU(3, 4)})
        self.decoder = nn.ModuleDict({"rnn": nn.GRU(3, 4), "out": nn.Linear(4, 9)})
        self.kept: list[Tensor] = []

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        encoded, hidden = self.encoder["rnn"](self.encoder["embedding"](source))
        self.kept, values = [encoded], []
        encoded.retain_grad()
        for symbol in target:
            output, hidden = self.decoder["rnn"](self.encoder["embedding"](symbol)[None], hidden)
            output.retain_grad()
            hidden.retain_grad()
            self.kept += [output, hidden]
            values.append(self.decoder["out"](output[0]))
        return torch.stack(values)


@dataclass
class Output:
    """What a wrapper in the style of Hugging Face returns."""

    logits: Tensor
    hidden_states: Any = None


class Wrapper(nn.Module):
    """A backbone with keyword arguments and a dataclass as its result."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.encoder = nn.GRU(3, 4, batch_first=True)

    def forward(self, inputs_embeds: Tensor, state: Tensor | None = None) -> Output:
        states, last = self.backbone.encoder(input=inputs_embeds, hx=state)
        return Output(states.sum(-1), last)


def test_a_packed_bidirectional_classifier() -> None:
    torch.manual_seed(0)
    model = PackedClassifier().double().eval()
    text, lengths = torch.randint(1, 20, (3, 6)), torch.tensor([4, 6, 2])
    with gatescope.watch(model) as scope:
        model(text, lengths).square().sum().backward()
    truth = Unrolled(model.lstm, model.embedding(text), lengths.tolist())
    model.fc(torch.cat([truth.last[0][-2], truth.last[0][-1]], 1)).square().sum().backward()
    for part, tensors in (("h", truth.h), ("c", truth.c)):
        grads = scope["lstm"].state_gradients[part].values
        for (layer, direction, b, t), state in tensors.items():
            torch.testing.assert_close(grads[layer, direction, b, t], state.grad)
    assert set(scope.summary()["direction"]) == {"forward", "backward"}
    curve = scope.vanishing_curve().query("layer == 1 and direction == 'backward' and state == 'state'")
    assert curve["lag"].max() >= 3
    assert (curve["norm"].iloc[0], curve["norm"].iloc[-1]) > (curve["norm"].iloc[-1], 0)


def test_a_decoder_that_is_called_step_by_step_is_one_pass() -> None:
    torch.manual_seed(0)
    model = Translator().double()
    source, target = torch.randint(9, (5, 2)), torch.randint(9, (4, 2))
    with gatescope.watch(model) as scope:
        model(source, target).square().sum().backward()
    encoded, *steps = model.kept
    assert list(scope) == ["encoder.rnn", "decoder.rnn"]
    decoder = scope["decoder.rnn"]
    assert len(decoder.calls) == 4
    grads = decoder.state_gradients["h"].values[0, 0]
    for t, (output, hidden) in enumerate(zip(steps[::2], steps[1::2], strict=True)):
        through_state = 0 if hidden.grad is None else hidden.grad[0]  # the last state is not used
        torch.testing.assert_close(grads[:, t], output.grad[0] + through_state)
        torch.testing.assert_close(decoder.states["h"].values[0, 0, :, t], output[0].detach())
    assert set(decoder.vanishing_curve()["lag"]) == {0, 1, 2, 3}
    assert scope["encoder.rnn"].state_gradients["h"].values.abs().min() > 0
    assert encoded.grad is None  # the loss reads the encoder's last state alone


def test_calls_that_do_not_continue_each_other_are_chosen_by_number() -> None:
    model = nn.GRU(3, 4, batch_first=True)
    a, b = torch.randn(2, 5, 3), torch.randn(3, 6, 3)
    with gatescope.watch(model) as scope:
        (model(a)[0].sum() + model(b)[0][:, -1].sum()).backward()
    with pytest.raises(WatchError, match=r"called 2 times.*choose one, \.calls\[0\] to \.calls\[1\]"):
        scope["GRU"].gates  # noqa: B018
    assert scope["GRU"].calls[0].gates["update"].shape == (1, 1, 2, 5, 4)
    assert scope["GRU"].calls[1].state_gradients["h"].shape == (1, 1, 3, 6, 4)


def test_a_language_model_that_carries_its_state() -> None:
    torch.manual_seed(0)
    embedding, lstm, head = nn.Embedding(9, 3), nn.LSTM(3, 4), nn.Linear(4, 9)
    model = nn.ModuleList([embedding, lstm, head]).double()
    state: Any = None
    for chunk in torch.randint(9, (3, 5, 2)):
        state = state and tuple(part.detach() for part in state)
        before = state
        with gatescope.watch(model) as scope:
            output, state = lstm(embedding(chunk), state)
            head(output).square().sum().backward()
    truth = Unrolled(lstm, embedding(chunk).transpose(0, 1), [5, 5], before)
    head(truth.output).square().sum().backward()
    for (_, _, b, t), c in truth.c.items():
        torch.testing.assert_close(scope["1"].state_gradients["c"].values[0, 0, b, t], c.grad)


def test_a_wrapper_one_sequence_and_instruments() -> None:
    torch.manual_seed(0)
    model = Wrapper()
    with gatescope.watch(model) as scope:
        model(torch.randn(20, 3), torch.randn(1, 4)).logits.square().sum().backward()
    watched = scope["backbone.encoder"]
    assert watched.gates["keep"].shape == (1, 1, 1, 20, 4)
    with gatescope.watch(model) as scope:
        model(inputs_embeds=torch.randn(40, 20, 3)).logits.square().sum().backward()
    found = scope["backbone.encoder"].read(JacobianNorms(), LyapunovSpectrum(), Retention(lags=3))
    assert isinstance(found["jacobian/layer0/largest_singular_value"], Curve)
    assert isinstance(found["memory/layer0/capacity_h"], Scalar)
    error = found["lyapunov/layer0/determinant_error"]
    assert isinstance(error, Scalar)
    assert error.value < 1e-9
    weights = torch.full((40, 20), 1 / 20)
    attention = scope["backbone.encoder"].read(AttentionStatistics(), attention=weights)
    assert attention["attention/entropy"].value == pytest.approx(1)
    assert attention["attention/distance"].value == pytest.approx(9.5)


def test_autocast_and_a_loss_scale() -> None:
    torch.manual_seed(0)
    model = nn.GRU(3, 4, batch_first=True)
    x = torch.randn(2, 5, 3)
    with gatescope.watch(model) as exact:
        model(x)[0].square().sum().backward()
    with gatescope.watch(model, loss_scale=1024.0) as scaled:
        (1024 * model(x)[0].square().sum()).backward()
    expected = exact["GRU"].state_gradients["h"].values
    torch.testing.assert_close(scaled["GRU"].state_gradients["h"].values, expected)
    with gatescope.watch(model) as lower, torch.autocast("cpu", torch.bfloat16):
        model(x)[0].square().sum().backward()
    found = lower["GRU"].state_gradients["h"].values
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.02)
    half = copy.deepcopy(model).bfloat16()
    with gatescope.watch(half) as lower:
        half(x.bfloat16())[0].square().sum().backward()
    torch.testing.assert_close(lower["GRU"].state_gradients["h"].values, expected, rtol=0.1, atol=0.02)


def test_inference_mode_and_several_backward_passes() -> None:
    model = nn.LSTM(3, 4, batch_first=True)
    with torch.inference_mode(), gatescope.watch(model) as scope:
        model(torch.randn(2, 5, 3))
    assert scope["LSTM"].gates["forget"].shape == (1, 1, 2, 5, 4)
    x = torch.randn(2, 5, 3)
    with gatescope.watch(model) as scope:
        states, _ = model(x)
        scope.summary()  # read too early
        states.sum().backward(retain_graph=True)
        first = scope["LSTM"].state_gradients["c"].values
        states.sum().backward()
    with gatescope.watch(model) as once:
        model(x)[0].sum().backward()
    pair = (one["LSTM"].state_gradients["c"].values for one in (scope, once))
    torch.testing.assert_close(next(pair), 2 * next(pair))
    torch.testing.assert_close(first, once["LSTM"].state_gradients["c"].values)


@pytest.mark.slow
def test_compiled_and_distributed_models() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.rnn(torch.tanh(x))[0]))

    model, x = Model(), torch.randn(2, 5, 3)
    with gatescope.watch(model) as scope:
        model(x).sum().backward()
    expected = scope["rnn"].state_gradients["h"].values
    compiled = torch.compile(model, backend="eager")
    compiled(x).sum().backward()
    for one in (compiled, torch.compile(Model(), backend="eager")):
        with gatescope.watch(one) as scope:
            one(x).sum().backward()
        assert scope["rnn"].state_gradients["h"].shape == expected.shape
        if one is compiled:
            torch.testing.assert_close(scope["rnn"].state_gradients["h"].values, expected)

    torch.distributed.init_process_group("gloo", init_method="tcp://127.0.0.1:29571", rank=0, world_size=1)
    try:
        distributed = nn.parallel.DistributedDataParallel(model)
        with gatescope.watch(distributed) as scope:
            distributed(x).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    torch.testing.assert_close(scope["rnn"].state_gradients["h"].values, expected)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("with_head", [False, True])
def test_activation_checkpointing(reentrant: bool, with_head: bool) -> None:
    torch.manual_seed(0)
    rnn, head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 1)
    model, x = nn.ModuleList([rnn, head]), torch.randn(2, 5, 3, requires_grad=True)

    def run(x: Tensor) -> Tensor:
        return head(rnn(x)[0]) if with_head else rnn(x)[0]

    def loss(values: Tensor) -> Tensor:
        return (values if with_head else head(values)).square().sum()

    with gatescope.watch(model) as scope:
        loss(run(x)).backward()
    expected = scope["0"].state_gradients["c"].values
    with gatescope.watch(model) as scope:
        loss(checkpoint(run, x, use_reentrant=reentrant)).backward()
    torch.testing.assert_close(scope["0"].state_gradients["c"].values, expected)


def test_the_figure_of_a_scope() -> None:
    model = nn.ModuleDict({"a": nn.LSTM(3, 4), "b": nn.RNN(3, 4)})
    with gatescope.watch(model) as scope:
        with torch.no_grad():
            model["b"](torch.randn(9, 2, 3))
        model["a"](torch.randn(9, 2, 3))[0].sum().backward()
    figure = scope.plot()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["a", "a", "b", "b"]
    line = figure.axes[0].get_lines()[0].get_ydata()
    curve = scope["a"].vanishing_curve().query("state == 'state'")["norm"]
    assert list(line) == list(curve)
    assert "loss-free" in figure.axes[2].get_ylabel()
    assert figure.axes[3].texts[0].get_text() == "a cell without gates"
