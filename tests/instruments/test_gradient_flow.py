import logging
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import encoder, feature_batch, squared_error
from torch import nn

from gatescope.cells.gru import GRU
from gatescope.cells.gru_article import GRUArticle
from gatescope.cells.irnn import IRNN
from gatescope.cells.lstm import LSTM
from gatescope.cells.mingru import MinGRU
from gatescope.cells.minlstm import MinLSTM
from gatescope.cells.peephole_lstm import PeepholeLSTM
from gatescope.cells.rnn import RNN
from gatescope.instruments import self_test
from gatescope.instruments.decay import state_measurements
from gatescope.instruments.gradient_flow import GradientFlow
from gatescope.instruments.gradient_paths import lag_contributions
from gatescope.instruments.measurements import Curve, Heatmap, Scalar, Undefined
from gatescope.instruments.probe import probe_model
from gatescope.models.attention import Additive, Pooling
from gatescope.models.traces import LayerTrace


def zero_input_measurements(model, lengths, **options):
    """Return the measurements for inputs of zeros."""
    batch = feature_batch(lengths, 3)
    probe = probe_model(model, batch._replace(inputs=torch.zeros_like(batch.inputs)), squared_error)
    return GradientFlow(**options).read(probe)


def zero_weights(model, layer="layer0"):
    with torch.no_grad():
        for weight in model.stack.layers[layer].weights:
            weight.zero_()
    return model.stack.layers[layer].weights


def orthogonal_rnn(rho, hidden=8, **options):
    model = encoder(RNN, hidden=hidden, **options)
    _, u, _, _ = zero_weights(model)
    with torch.no_grad():
        u.copy_(rho * nn.init.orthogonal_(torch.empty(hidden, hidden)))
    return model


@settings(deadline=None, max_examples=5)
@given(st.floats(0.3, 1.5))
def test_orthogonal_rnn_decays_by_its_factor(rho):
    measurements = zero_input_measurements(orthogonal_rnn(rho), [40, 30, 12])
    for kind in ("vanishing", "loss_free"):
        curve = measurements[f"gradient_flow/layer0/{kind}_curve"]
        assert curve.y == pytest.approx([rho**k for k in range(len(curve.y))], rel=1e-4)
        assert len(curve.y) == 30  # the lag that half of the examples, two of three, reach
        assert curve.low == pytest.approx(curve.y, rel=1e-4)
    assert measurements["gradient_flow/layer0/decay_rate"].value == pytest.approx(math.log(rho), abs=1e-5)


def test_half_life_and_reach_of_the_orthogonal_rnn():
    measurements = zero_input_measurements(orthogonal_rnn(0.9), [60, 60])
    assert measurements["gradient_flow/layer0/half_life"].value == pytest.approx(
        -math.log(2) / math.log(0.9), rel=1e-4
    )
    assert measurements["gradient_flow/layer0/reach"] == Scalar(43.0)  # 0.9^43 > 0.01 > 0.9^44
    assert measurements["gradient_flow/layer0/reach_censored"] == Scalar(0.0)


@pytest.mark.parametrize("rho", [1.0, 1.1])
def test_a_gradient_that_does_not_vanish_has_no_half_life(rho):
    measurements = zero_input_measurements(orthogonal_rnn(rho), [30, 30])
    half_life = measurements["gradient_flow/layer0/half_life"]
    assert isinstance(half_life, Undefined)
    assert "does not vanish" in half_life.why
    assert measurements["gradient_flow/layer0/reach"] == Scalar(29.0)
    assert measurements["gradient_flow/layer0/reach_censored"] == Scalar(1.0)


def test_gru_with_a_constant_keep():
    model = encoder(GRU)
    _, _, b_ih, _ = zero_weights(model)
    with torch.no_grad():
        b_ih[5:10] = math.log(9.0)  # σ = 0.9
    measurements = zero_input_measurements(model, [50, 50], gate_path=True)
    assert measurements["gradient_flow/layer0/half_life"].value == pytest.approx(6.578813, rel=1e-5)
    assert measurements["gradient_flow/layer0/loss_free_half_life"].value == pytest.approx(6.578813, rel=1e-5)
    share = measurements["gradient_flow/layer0/gate_path_share"]
    assert share.y == pytest.approx([1.0] * 50, rel=1e-4)  # with U = 0 there is no other path


def test_lstm_with_a_constant_forget_gate():
    model = encoder(LSTM)
    _, _, b_ih, _ = zero_weights(model)
    with torch.no_grad():
        b_ih[5:10] = math.log(0.8 / 0.2)
    measurements = zero_input_measurements(model, [30, 30], gate_path=True)
    for name in ("vanishing_curve_c", "loss_free_curve_c"):
        y = measurements[f"gradient_flow/layer0/{name}"].y
        assert y == pytest.approx([0.8**k for k in range(30)], rel=1e-4)
    assert measurements["gradient_flow/layer0/decay_rate"].value == pytest.approx(math.log(0.8), rel=1e-4)
    assert measurements["gradient_flow/layer0/gate_path_share"].y == pytest.approx([1.0] * 30, rel=1e-4)
    assert "gradient_flow/layer0/vanishing_curve_h" in measurements


def test_long_lags_do_not_underflow():
    measurements = zero_input_measurements(orthogonal_rnn(0.2), [300, 300], fit_to=299)
    assert measurements["gradient_flow/layer0/decay_rate"].value == pytest.approx(math.log(0.2), rel=1e-5)
    assert "gradient_flow/layer0/underflow_lag" not in measurements


def test_a_gradient_that_becomes_exactly_zero_is_dead():
    model = encoder(RNN, hidden=4)
    _, u, _, _ = zero_weights(model)
    with torch.no_grad():
        u.copy_(torch.diag(torch.full((3,), 0.5), 1))  # nilpotent: 0 after four steps
    measurements = zero_input_measurements(model, [20, 20])
    assert measurements["gradient_flow/layer0/underflow_lag"] == Scalar(4.0)
    assert len(measurements["gradient_flow/layer0/vanishing_curve"].y) == 4
    for kind in ("", "loss_free_"):
        prefix = f"gradient_flow/layer0/{kind}"
        assert measurements[f"{prefix}dead_share"] == Scalar(1.0)
        assert measurements[f"{prefix}exploded_share"] == Scalar(0.0)
        for name in ("decay_rate", "half_life"):
            assert measurements[f"{prefix}{name}"].why.startswith("dead: ")
        assert measurements[f"{prefix}reach"] == Scalar(3.0)
        assert measurements[f"{prefix}reach_censored"] == Scalar(0.0), "the norm is 0 beyond, not unknown"


@pytest.mark.parametrize(("dying", "rate"), [(1, True), (2, False), (4, False)])
def test_dead_examples_are_counted_and_left_out_of_means(dying, rate):
    logs = torch.log(0.9 ** torch.arange(12.0, dtype=torch.float64)).expand(4, 12).clone()
    logs[:dying, 5:] = -torch.inf
    lengths = torch.full((4,), 12)
    measurements, _ = state_measurements("curve", "", {"state": logs}, lengths, "", (1, 50), 0.01)
    assert measurements["dead_share"] == Scalar(dying / 4)
    assert measurements["exploded_share"] == Scalar(0.0)
    if rate:
        assert measurements["decay_rate"].value == pytest.approx(math.log(0.9))
    else:
        assert measurements["decay_rate"].why.startswith("dead: ")
    # Beyond the range that the rate is fitted over, nothing counts as dead.
    short, _ = state_measurements("curve", "", {"state": logs}, lengths, "", (1, 4), 0.01)
    assert short["dead_share"] == Scalar(0.0)
    assert short["decay_rate"].value == pytest.approx(math.log(0.9))


def test_exploded_examples_are_counted():
    logs = torch.zeros(4, 6, dtype=torch.float64)
    logs[0, 3:], logs[1, 4:] = torch.inf, torch.nan
    measurements, _ = state_measurements(
        "curve", "", {"state": logs}, torch.tensor([6, 6, 6, 3]), "", (1, 50), 0.01
    )
    assert measurements["exploded_share"] == Scalar(0.5)
    assert measurements["decay_rate"].why == "exploded: overflow in the adjoint of 2 of 4 sequences"


@pytest.mark.parametrize("jacobian", [False, True])
def test_a_dead_relu_network_is_recorded_as_dead(small, recorded, jacobian):
    # Biases of -9 shut every unit for good, in every example.
    measurements = recorded(
        small(f"model.cell._target_={__name__}.ShutIRNN", "model=irnn", "instruments=full", "data.steps=16")
        if jacobian
        else small(f"model.cell._target_={__name__}.ShutIRNN", "model=irnn", "data.steps=16")
    )
    assert measurements["gradient_flow/layer0/loss_free_dead_share"]["value"] == 1.0
    assert measurements["gradient_flow/layer0/loss_free_decay_rate"]["kind"] == "undefined"
    assert measurements["gradient_flow/layer0/loss_free_decay_rate"]["why"].startswith("dead: ")
    assert measurements["gradient_flow/layer0/loss_free_reach"]["value"] == 0.0
    assert measurements["gradient_flow/layer0/loss_free_reach_censored"]["value"] == 0.0
    if jacobian:
        assert measurements["jacobian/layer0/dead_share"]["value"] == 1.0
        assert measurements["training_signal/layer0/dead_share"]["value"] == 1.0


class ShutIRNN(IRNN):
    def __init__(self, input_size, hidden_size, **options):
        super().__init__(input_size, hidden_size, **options)
        with torch.no_grad():
            for bias in self.weights[2:]:
                bias.fill_(-9.0)


def autograd_norms(model, batch):
    """‖∂L_last/∂h_t‖ of layer 0 by a loop over `step` under autograd; loss on the last state."""
    model = model.double().eval()
    x, layers = batch.inputs.double(), list(model.stack.layers.values())
    states = [layer.zero_state(x) for layer in layers]
    seen = []
    for t in range(x.shape[1]):
        signal = x[:, t]
        for i, layer in enumerate(layers):
            states[i] = layer.step(signal, states[i])
            signal = states[i].h
            if i == 0:
                signal.retain_grad() if signal.requires_grad else None
                seen.append(signal)
    loss = squared_error(model.head(signal), batch.targets.double()).mean()
    return torch.stack([g.norm(dim=-1) for g in torch.autograd.grad(loss, seen)], 1).flip(1)


@pytest.mark.parametrize("cell", [RNN, GRU])
def test_a_stack_against_autograd_through_a_loop(cell):
    model, batch = encoder(cell, layers=2), feature_batch([12, 12, 12], 3)
    curve = GradientFlow().read(probe_model(model, batch, squared_error))[
        "gradient_flow/layer0/vanishing_curve"
    ]
    norms = autograd_norms(model, batch)
    expected = (norms / norms[:, :1]).log().mean(0).exp()
    assert curve.y == pytest.approx(expected.tolist(), rel=1e-4)


CELLS = [RNN, IRNN, GRU, GRUArticle, LSTM, PeepholeLSTM, MinGRU, MinLSTM]


@pytest.mark.parametrize("cell", [MinGRU, MinLSTM])
def test_gate_path_is_the_full_product_where_gates_depend_on_inputs_only(cell):
    probe = probe_model(encoder(cell), feature_batch([20, 20], 3), squared_error)
    share = GradientFlow(gate_path=True).read(probe)["gradient_flow/layer0/gate_path_share"]
    assert share.y == pytest.approx([1.0] * 20, rel=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("attention", [Pooling, Additive])
def test_self_test_agrees_with_autograd_and_does_not_change_the_model(cell, attention):
    model = encoder(cell, layers=2, bidirectional=True, dropout=0.3, hidden=4, attention=attention)
    model.train()
    batch = feature_batch([9, 4, 1, 7], 3)
    probe = probe_model(model, batch, squared_error)
    state = torch.get_rng_state()
    measurements = GradientFlow(gate_path=True, lags=4).read(probe)
    assert measurements["gradient_flow/self_test"].value < 1e-4
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())
    assert all(m.training for m in model.modules())
    if cell is LSTM:
        assert measurements["gradient_flow/layer1_backward/memory_error"].value < 1e-5
    assert GradientFlow(gate_path=True, lags=4).read(probe) == measurements


def test_a_wrong_adjoint_logs_a_warning(monkeypatch, caplog):
    model = encoder(GRU)
    right = GRU.vjp

    def wrong(self, adjoint, saved):
        step = right(self, adjoint, saved)
        return step._replace(delta=step.delta * 1.01)

    # The first is for the native kernel, the second for torch.
    monkeypatch.setattr(GRU, "_own_rows", lambda self, deltas: 1.01 * deltas)
    monkeypatch.setattr(GRU, "vjp", wrong)
    with caplog.at_level(logging.WARNING):
        measurements = GradientFlow().read(probe_model(model, feature_batch([5, 3], 3), squared_error))
    assert measurements["gradient_flow/self_test"].value > self_test.TOLERANCE
    assert "self_test" in caplog.text


@pytest.mark.parametrize("cell", CELLS)
def test_states_that_differ_from_the_equations_log_a_warning(cell, monkeypatch, caplog):
    right = cell.step

    def other(self, x_t, state):
        made = right(self, x_t, state)
        return made._replace(h=1.001 * made.h)

    monkeypatch.setattr(cell, "step", other)
    with caplog.at_level(logging.WARNING):
        probe = probe_model(encoder(cell), feature_batch([5, 3], 3), squared_error)
        measurements = GradientFlow().read(probe)
    assert measurements["gradient_flow/self_test"].value == pytest.approx(1e-3, rel=0.2)
    assert "self_test" in caplog.text


def test_gradients_lost_between_layers_log_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(LayerTrace, "align_time", lambda trace, values: values)
    model = encoder(GRU, layers=2, bidirectional=True)
    with caplog.at_level(logging.WARNING):
        measurements = zero_input_measurements(model, [5, 3])
    assert measurements["gradient_flow/self_test"].value > 0.1
    assert "self_test" in caplog.text


@pytest.mark.parametrize("cell", CELLS)
def test_lag_contributions_sum_to_the_adjoint(cell):
    model = encoder(cell, attention=Additive)
    probe = probe_model(model, feature_batch([9, 9, 9], 3), squared_error)
    layer = probe.layers["layer0"]
    with torch.no_grad():
        saved = layer.cell.linearise(layer.x, layer.states)
        parts = list(lag_contributions(layer.cell, saved, probe.output_grad, 9))
        total = layer.cell.adjoint(layer.x, layer.states, probe.output_grad)
    torch.testing.assert_close(sum(p.h for p in parts), total.h, rtol=1e-4, atol=1e-7)
    if total.c is not None:
        torch.testing.assert_close(sum(p.c for p in parts), total.c, rtol=1e-4, atol=1e-7)


def test_lag_map_of_a_loss_at_the_last_step_is_one_diagonal():
    model = orthogonal_rnn(0.5)
    measurement = zero_input_measurements(model, [6, 6], lags=6)["gradient_flow/layer0/lag_map"]
    assert isinstance(measurement, Heatmap)
    values = torch.tensor(measurement.values)
    for k in range(6):
        assert values[k, 5 - k] == pytest.approx(float(values[0, 5]) * 0.5**k, rel=1e-4)
    assert int((values > 0).sum()) == 6


def test_shortcut_share_is_zero_only_without_attention():
    batch = feature_batch([9, 9], 3)
    none = GradientFlow().read(probe_model(encoder(GRU), batch, squared_error))
    some = GradientFlow().read(probe_model(encoder(GRU, attention=Additive), batch, squared_error))
    assert none["gradient_flow/layer0/shortcut_share"] == Scalar(0.0)
    assert 0 < some["gradient_flow/layer0/shortcut_share"].value < 1


def check_no_nan(measurements):
    for measurement in measurements.values():
        if isinstance(measurement, Scalar):
            assert math.isfinite(measurement.value)
        if isinstance(measurement, Curve):
            assert all(map(math.isfinite, [*measurement.y, *measurement.low, *measurement.high]))


FULL = {"gate_path": True, "lags": 8}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lengths", [[1, 1], [1], [6], [2, 1]])
def test_one_step_and_one_example(cell, lengths):
    measurements = GradientFlow(**FULL).read(
        probe_model(encoder(cell), feature_batch(lengths, 3), squared_error)
    )
    check_no_nan(measurements)
    assert measurements["gradient_flow/self_test"].value < self_test.TOLERANCE
    curve = measurements["gradient_flow/layer0/vanishing_curve"]
    assert isinstance(curve, Curve if max(lengths) > 1 else Undefined)


@pytest.mark.parametrize("cell", CELLS)
def test_a_loss_that_does_not_depend_on_the_state(cell):
    probe = probe_model(encoder(cell), feature_batch([5, 3], 3), lambda values, targets: targets.square())
    measurements = GradientFlow(**FULL).read(probe)
    check_no_nan(measurements)
    for name in ("vanishing_curve", "decay_rate", "half_life", "reach", "shortcut_share"):
        assert isinstance(measurements[f"gradient_flow/layer0/{name}"], Undefined)
    assert isinstance(measurements["gradient_flow/self_test"], Undefined)
    assert isinstance(measurements["gradient_flow/layer0/loss_free_curve"], Curve)


def test_an_adjoint_beyond_float32():
    measurements = zero_input_measurements(orthogonal_rnn(1e30), [8, 8], **FULL)
    check_no_nan(measurements)
    assert measurements["gradient_flow/self_test"].value < self_test.TOLERANCE
    rate = measurements["gradient_flow/layer0/decay_rate"].value
    assert rate == pytest.approx(30 * math.log(10), rel=1e-3)


@pytest.mark.parametrize("cell", [RNN, GRU, LSTM])
def test_weights_that_are_not_finite(cell):
    model = encoder(cell)
    with torch.no_grad():
        model.stack.layers["layer0"].weights[1].fill_(math.inf)
    measurements = GradientFlow(**FULL).read(probe_model(model, feature_batch([5, 3], 3), squared_error))
    check_no_nan(measurements)
    assert isinstance(measurements["gradient_flow/layer0/vanishing_curve"], Undefined)


def test_self_test_of_a_frozen_stack():
    model = encoder(GRU)
    model.stack.requires_grad_(False)
    measurements = GradientFlow().read(probe_model(model, feature_batch([5, 3], 3), squared_error))
    assert measurements["gradient_flow/self_test"].value < self_test.TOLERANCE


def test_a_cell_without_gates_has_no_gate_path():
    measurement = zero_input_measurements(encoder(RNN), [5, 3], gate_path=True)[
        "gradient_flow/layer0/gate_path_share"
    ]
    assert isinstance(measurement, Undefined)
