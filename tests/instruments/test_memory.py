import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from small_models import Leaky, encoder, feature_batch, feature_task, squared_error
from torch import nn

from gatescope.cells.lstm import LSTM
from gatescope.cells.state import State
from gatescope.instruments.measurements import Curve, Scalar, Undefined
from gatescope.instruments.memory import KINDS, Retention, squared_correlations, token_accuracy
from gatescope.instruments.probe import probe_model
from gatescope.models.attention import Pooling
from gatescope.models.encoder import Encoder
from gatescope.sequences import Batch, TaskSpec


class ShiftRegister(Leaky):
    """h_t = (x_t, h_{t-1} without its last): a linear network that stores the last H inputs."""

    gate_names = ()

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.spare = nn.Parameter(torch.zeros(1))

    def step(self, x_t, state):
        return State(torch.cat([x_t[:, :1], state.h[:, :-1]], 1))

    def gates(self, x, states):
        return {}


def register_probe(bidirectional=False):
    model = Encoder(feature_task(1), ShiftRegister, Pooling, hidden_size=12, bidirectional=bidirectional)
    return probe_model(model, feature_batch([20 + i % 5 for i in range(300)], 1), squared_error)


def test_a_shift_register_of_twelve_has_capacity_twelve():
    measurements = Retention(lags=12).read(register_probe(bidirectional=True))
    for layer in ("layer0", "layer0_backward"):
        assert measurements[f"memory/{layer}/capacity_h_raw"].value == pytest.approx(12.0, abs=1e-3)
        control = measurements[f"memory/{layer}/retention_h_control"]
        assert max(control.y) < 0.15
        floor = measurements[f"memory/{layer}/capacity_h_control"].value
        assert floor == pytest.approx(sum(control.y))
        assert measurements[f"memory/{layer}/capacity_h"].value == pytest.approx(12.0 - floor, abs=1e-3)


def test_retention_is_zero_beyond_the_register():
    measurements = Retention(lags=16).read(register_probe())
    curve = measurements["memory/layer0/retention_h_raw"]
    assert curve.y[:12] == pytest.approx([1.0] * 12, abs=1e-4)
    assert max(curve.y[12:]) < 0.15
    above = measurements["memory/layer0/retention_h"]
    assert above.y == pytest.approx(
        [a - b for a, b in zip(curve.y, measurements["memory/layer0/retention_h_control"].y, strict=True)]
    )
    assert abs(sum(above.y[12:])) < 0.1


def test_random_states_have_no_capacity() -> None:
    # States of noise: the squared correlations of 32 lags with as many sequences add up all the same.
    totals = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        probe = register_probe()
        states = rng.standard_normal((300, 12)).astype(np.float32)
        noise = State(torch.from_numpy(states))
        probe.layers["layer0"].cell.final = lambda x, s, noise=noise: noise
        measurements = Retention(lags=20, seed=seed).read(probe)
        raw, control, above = (
            measurements[f"memory/layer0/capacity_h{kind}"].value for kind in ("_raw", "_control", "")
        )
        assert above == pytest.approx(raw - control)
        assert min(raw, control) > 0.05
        totals.append(above)
    assert abs(np.mean(totals)) < 2 * np.std(totals, ddof=1) / math.sqrt(6) + 0.02


def test_capacity_control_and_difference_are_recorded(small, recorded):
    measurements = recorded(
        small(
            "instruments=full", "instruments.examples=32", "data.steps=6", "model=lstm", "model.hidden_size=4"
        )
    )
    for part in ("h", "c"):
        by_kind = {kind: measurements[f"memory/layer0/capacity_{part}{kind}"]["value"] for kind in KINDS}
        assert by_kind[""] == pytest.approx(by_kind["_raw"] - by_kind["_control"])
        assert by_kind["_control"] > 0
        curves = {kind: measurements[f"memory/layer0/retention_{part}{kind}"]["y"] for kind in KINDS}
        assert curves[""] == pytest.approx(np.subtract(curves["_raw"], curves["_control"]))
        # Two features, both varying at every lag.
        assert by_kind["_control"] == pytest.approx(2 * sum(curves["_control"]))


def token_probe():
    torch.manual_seed(0)
    task = TaskSpec("regression", "tokens", 5, 1, "mse", "min", padding_index=0)
    model = Encoder(task, ShiftRegister, Pooling, hidden_size=3, embedding_size=1)
    with torch.no_grad():
        assert model.embedding is not None
        model.embedding.weight.copy_(torch.tensor([[0.0], [-1.0], [1.0], [-1.0], [1.0]]))
    ids = torch.randint(1, 3, (200, 8))
    batch = Batch(ids, torch.full((200,), 8), torch.zeros(200), torch.arange(200))
    return probe_model(model, batch, squared_error)


def test_token_retention_exceeds_the_shuffled_control():
    measurements = Retention(lags=6).read(token_probe())
    known, control = (
        measurements["memory/layer0/retention_h_raw"],
        measurements["memory/layer0/retention_h_control"],
    )
    assert known.y[:3] == [1.0] * 3
    assert max(known.y[3:]) < 0.75
    assert max(control.y) < 0.75
    assert "memory/layer0/capacity_h" not in measurements


def test_the_memory_cell_is_measured_separately():
    measurements = Retention(lags=4).read(
        probe_model(encoder(LSTM), feature_batch([9] * 40, 3), squared_error)
    )
    for part in ("h", "c"):
        assert isinstance(measurements[f"memory/layer0/retention_{part}"], Curve)
        assert isinstance(measurements[f"memory/layer0/capacity_{part}"], Scalar)


def test_global_random_states_are_unchanged():
    probe = register_probe()
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert Retention(lags=3).read(probe) == Retention(lags=3).read(probe)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("lengths", [[1], [5, 4], [1] * 5])
def test_too_few_sequences_are_undefined(lengths):
    measurements = Retention().read(probe_model(encoder(LSTM), feature_batch(lengths, 3), squared_error))
    assert all(isinstance(measurement, Undefined) for measurement in measurements.values())


def test_constant_inputs_are_undefined():
    batch = feature_batch([6] * 20, 3)
    probe = probe_model(encoder(LSTM), batch._replace(inputs=torch.ones_like(batch.inputs)), squared_error)
    assert all(isinstance(measurement, Undefined) for measurement in Retention().read(probe).values())


def test_a_state_that_is_not_finite_is_undefined():
    model = encoder(LSTM)
    with torch.no_grad():
        model.stack.layers["layer0"].weights[1].fill_(math.nan)
    measurements = Retention().read(probe_model(model, feature_batch([6] * 20, 3), squared_error))
    assert all(isinstance(measurement, Undefined) for measurement in measurements.values())


def test_squared_correlation_against_numpy():
    generator = np.random.default_rng(0)
    x, noise = generator.normal(size=(60, 4)), generator.normal(size=(60, 1))
    y = x[:, :1] - 2 * x[:, 1:2] + noise
    found = squared_correlations(x[:40], y[:40], x[40:], y[40:])
    weights = np.linalg.lstsq(np.c_[x[:40], np.ones(40)], y[:40], rcond=None)[0]
    guess = np.c_[x[40:], np.ones(20)] @ weights
    assert found[0] == pytest.approx(np.corrcoef(guess[:, 0], y[40:, 0])[0, 1] ** 2, rel=0.05)


@pytest.mark.parametrize("classes", [2, 5])
def test_token_accuracy_equals_a_ridge_classifier(classes):
    rng = np.random.default_rng(0)
    y = rng.integers(3, 3 + classes, (60, 1))
    x = (rng.standard_normal((60, 6)) + y * rng.standard_normal(6)).astype(np.float32)
    expected = RidgeClassifier().fit(x[:40], y[:40, 0]).score(x[40:], y[40:, 0])
    assert 1 / classes < expected < 1
    assert token_accuracy(x[:40], y[:40], x[40:], y[40:]) == pytest.approx([expected])
