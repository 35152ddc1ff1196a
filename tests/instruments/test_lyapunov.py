import math

import pytest
import torch
from small_models import encoder, feature_batch, squared_error

from gatescope.cells.gru import GRU
from gatescope.cells.lstm import LSTM
from gatescope.cells.rnn import RNN
from gatescope.instruments.lyapunov import LyapunovSpectrum
from gatescope.instruments.measurements import Curve, Scalar, Undefined
from gatescope.instruments.probe import probe_model


def linear_rnn(u, steps):
    """A tanh RNN that stays at 0, where it is linear with recurrent weights `u`."""
    model = encoder(RNN, hidden=len(u))
    weights = model.stack.layers["layer0"].weights
    with torch.no_grad():
        for weight in weights:
            weight.zero_()
        weights[1].copy_(u)
    batch = feature_batch([steps] * 2, 3)
    return probe_model(model, batch._replace(inputs=torch.zeros_like(batch.inputs)), squared_error)


def test_exponents_of_a_linear_network_are_the_logs_of_its_eigenvalues():
    eigenvalues = torch.tensor([1.1, 0.8, -0.5, 0.2])
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(4, 4, generator=generator)
    u = basis @ torch.diag(eigenvalues) @ torch.linalg.inv(basis)
    measurements = LyapunovSpectrum(burn_in=60).read(linear_rnn(u, 160))
    spectrum = measurements["lyapunov/layer0/spectrum"]
    assert spectrum.y == pytest.approx(eigenvalues.abs().log().tolist(), abs=1e-4)
    assert measurements["lyapunov/layer0/largest"].value == pytest.approx(math.log(1.1), abs=1e-4)
    assert measurements["lyapunov/layer0/determinant_error"].value < 1e-9


@pytest.mark.parametrize("cell", [RNN, GRU, LSTM])
def test_exponents_sum_to_the_log_determinant(cell):
    probe = probe_model(encoder(cell, layers=2), feature_batch([40, 30, 5], 3), squared_error)
    measurements = LyapunovSpectrum().read(probe)
    for layer in ("layer0", "layer1"):
        assert measurements[f"lyapunov/{layer}/determinant_error"].value < 1e-6
        curve = measurements[f"lyapunov/{layer}/spectrum"]
        assert isinstance(curve, Curve)
        assert curve.y == sorted(curve.y, reverse=True)
        assert measurements[f"lyapunov/{layer}/collapsed"] == Scalar(0.0)


def test_a_network_without_memory_has_no_exponents():
    measurements = LyapunovSpectrum().read(linear_rnn(torch.zeros(3, 3), 20))
    assert isinstance(measurements["lyapunov/layer0/spectrum"], Undefined)
    assert measurements["lyapunov/layer0/collapsed"] == Scalar(3.0)


def test_a_singular_network_keeps_its_finite_exponents():
    measurements = LyapunovSpectrum().read(linear_rnn(torch.diag(torch.tensor([0.5, 0.0])), 20))
    assert measurements["lyapunov/layer0/spectrum"].y == pytest.approx([math.log(0.5)])
    assert isinstance(measurements["lyapunov/layer0/determinant_error"], Undefined)


@pytest.mark.parametrize("lengths", [[1], [11, 11]])
def test_too_few_steps_are_undefined(lengths):
    measurements = LyapunovSpectrum().read(
        probe_model(encoder(GRU), feature_batch(lengths, 3), squared_error)
    )
    assert all(isinstance(measurement, Undefined) for measurement in measurements.values())


def test_weights_that_are_not_finite():
    probe = linear_rnn(torch.full((3, 3), math.inf), 20)
    assert all(isinstance(measurement, Undefined) for measurement in LyapunovSpectrum().read(probe).values())
