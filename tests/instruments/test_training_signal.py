"""Gradients of a training step with known values."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from small_models import encoder, feature_batch, squared_error

from gatescope.cells.gru import GRU
from gatescope.cells.lstm import LSTM
from gatescope.cells.rnn import RNN
from gatescope.instruments.base import Update
from gatescope.instruments.measurements import Curve, Measurements, Scalar, Undefined
from gatescope.instruments.training_signal import TrainingSignal
from gatescope.models.encoder import Encoder


def read(model: Encoder, lengths: list[int]) -> Measurements:
    batch = feature_batch(lengths, 3)
    model.stack.record_gradients()
    squared_error(model(batch).values, batch.targets).mean().backward()
    update = Update(1, model, {}, {}, {}, None, 0.0, model.stack.collect_gradients())
    return TrainingSignal().read(update)


def value(measurements: Measurements, name: str) -> float:
    measurement = measurements[f"training_signal/layer0/{name}"]
    assert isinstance(measurement, Scalar), (name, measurement)
    return measurement.value


@pytest.mark.parametrize("kernel", ["native", "torch"])
@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_gradient_of_a_scaled_rotation_decays_by_its_scale(kernel: str, rho: float) -> None:
    # Of ReLU units that stay on, ∂h_t/∂h_{t-1} is U = ρQ: the norm at lag k is ρ^k of that at lag 0.
    model = encoder(partial(RNN, nonlinearity="relu", kernel=kernel), hidden=5)
    layer: Any = model.stack.layers["layer0"]
    with torch.no_grad():
        layer.recurrent_weights.copy_(rho * torch.eye(5)[torch.tensor([1, 2, 3, 4, 0])])
        layer.input_weights.zero_()
        layer.weights[2].fill_(1.0)
    measurements = read(model, [12, 12, 9])
    curve = measurements["training_signal/layer0/curve"]
    assert isinstance(curve, Curve)
    assert curve.y == pytest.approx([rho**lag for lag in range(len(curve.y))], rel=1e-4)
    assert value(measurements, "half_life") == pytest.approx(math.log(2) / -math.log(rho), rel=1e-3)


def test_the_norm_is_that_of_the_gradient_at_the_last_state() -> None:
    model, batch = encoder(GRU), feature_batch([6, 4, 5], 3)
    measurements = read(model, [6, 4, 5])
    outputs = model.trace(batch)[1].detach().requires_grad_()
    loss = squared_error(model.readout(outputs, batch.lengths).values, batch.targets).mean()
    (direct,) = torch.autograd.grad(loss, outputs)
    last = direct[torch.arange(3), batch.lengths - 1].norm(dim=-1)
    assert value(measurements, "norm") == pytest.approx(last.log().mean().exp().item(), rel=1e-5)


def test_gates_are_means_over_valid_positions() -> None:
    model = encoder(LSTM)
    with torch.no_grad():
        for parameter in model.stack.parameters():
            parameter.zero_()
    measurements = read(model, [6, 2])
    assert {value(measurements, f"gate/{gate}") for gate in ("input", "keep", "output")} == {0.5}
    assert "training_signal/layer0/gate/forget" not in measurements
    assert "training_signal/layer0/curve_c" in measurements


def test_a_loss_without_gradient_is_undefined() -> None:
    model = encoder(GRU)
    for parameter in model.stack.parameters():
        parameter.requires_grad_(False)
    (measurement,) = read(model, [3, 2]).values()
    assert isinstance(measurement, Undefined)
    assert "no gradient" in measurement.why


def test_sequences_of_one_step_have_no_lag() -> None:
    measurements = read(encoder(GRU), [1, 1])
    assert isinstance(measurements["training_signal/layer0/curve"], Undefined)
    assert value(measurements, "norm") > 0
