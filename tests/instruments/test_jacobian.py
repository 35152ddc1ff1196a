import math

import pytest
import torch
from small_models import encoder, feature_batch, squared_error

from gatescope.cells.gru import GRU
from gatescope.cells.lstm import LSTM
from gatescope.cells.rnn import RNN
from gatescope.cells.state import State
from gatescope.instruments.jacobian import JacobianNorms, log_spaced
from gatescope.instruments.measurements import Curve, Scalar, Undefined
from gatescope.instruments.probe import probe_model


def explicit(layer, lag):
    """∂state_T / ∂state_{T-lag} of the first example, by autograd through a loop over `step`."""
    cell, x = layer.cell, layer.x[0]
    steps = len(x)
    state = State(*(None if s is None else s[:1] for s in layer.states.initial))
    for t in range(steps - lag):
        state = cell.step(x[t : t + 1], state)
    start = torch.cat([s for s in state if s is not None], -1)[0]

    def rest(flat):
        parts = flat[None].chunk(2 if cell.has_memory_cell else 1, -1)
        state = State(*parts)
        for t in range(steps - lag, steps):
            state = cell.step(x[t : t + 1], state)
        return torch.cat([s for s in state if s is not None], -1)[0]

    return torch.autograd.functional.jacobian(rest, start)


@pytest.mark.parametrize(("exact_up_to", "exact", "rough"), [(128, 1e-5, 1e-5), (0, 1e-3, 0.05)])
@pytest.mark.parametrize("cell", [RNN, GRU, LSTM])
def test_norms_against_the_explicit_jacobian(cell, exact_up_to, exact, rough):
    probe = probe_model(encoder(cell), feature_batch([9], 3), squared_error)
    measurements = JacobianNorms(exact_up_to=exact_up_to, iterations=60, probes=4000).read(probe)
    largest = measurements["jacobian/layer0/largest_singular_value"]
    frobenius = measurements["jacobian/layer0/frobenius"]
    assert largest.x == [1, 2, 4, 8]
    for lag, value, root in zip(largest.x, largest.y, frobenius.y, strict=True):
        jacobian = explicit(probe.layers["layer0"], int(lag))
        assert value == pytest.approx(float(torch.linalg.matrix_norm(jacobian, 2)), rel=exact)
        assert root == pytest.approx(float(torch.linalg.matrix_norm(jacobian)), rel=rough)


@pytest.mark.parametrize("exact_up_to", [0, 8])
def test_orthogonal_rnn(exact_up_to):
    model = encoder(RNN, hidden=8)
    with torch.no_grad():
        for weight in model.stack.layers["layer0"].weights:
            weight.zero_()
        model.stack.layers["layer0"].weights[1].copy_(0.9 * torch.eye(8).roll(1, 0))
    batch = feature_batch([64, 64, 40], 3)
    probe = probe_model(model, batch._replace(inputs=torch.zeros_like(batch.inputs)), squared_error)
    measurements = JacobianNorms(exact_up_to=exact_up_to).read(probe)
    for name, factor in (("largest_singular_value", 1), ("frobenius", math.sqrt(8))):
        curve = measurements[f"jacobian/layer0/{name}"]
        assert curve.x == [1, 2, 4, 8, 16, 32, 63]
        assert curve.y == pytest.approx([factor * 0.9**k for k in curve.x], rel=1e-4)


def curves(measurements):
    """Without the shares of examples that are dead or exploded."""
    return {name: one for name, one in measurements.items() if not name.endswith("_share")}


@pytest.mark.parametrize("lengths", [[1, 1], [1], [2]])
def test_short_sequences(lengths):
    measurements = JacobianNorms().read(probe_model(encoder(LSTM), feature_batch(lengths, 3), squared_error))
    expected = Curve if max(lengths) > 1 else Undefined
    assert all(isinstance(measurement, expected) for measurement in curves(measurements).values())


@pytest.mark.parametrize("exact_up_to", [0, 128])
@pytest.mark.parametrize("value", [0.0, math.inf])
def test_a_jacobian_of_zero_or_beyond_numbers_is_undefined(value, exact_up_to):
    model = encoder(RNN)
    with torch.no_grad():
        model.stack.layers["layer0"].weights[1].fill_(value)
    instrument = JacobianNorms(exact_up_to=exact_up_to)
    measurements = instrument.read(probe_model(model, feature_batch([6, 6], 3), squared_error))
    assert all(isinstance(measurement, Undefined) for measurement in curves(measurements).values())
    assert measurements["jacobian/layer0/dead_share"] == Scalar(float(value == 0))
    assert measurements["jacobian/layer0/exploded_share"] == Scalar(float(value > 0))


@pytest.mark.parametrize("cell", [RNN, GRU, LSTM])
def test_both_ways_agree_on_sequences_of_different_lengths(cell):
    probe = probe_model(encoder(cell), feature_batch([9, 4, 6], 3), squared_error)
    exact = JacobianNorms().read(probe)
    for name, found in curves(JacobianNorms(exact_up_to=0, iterations=60, probes=4000).read(probe)).items():
        assert found.y == pytest.approx(exact[name].y, rel=0.05)


def test_random_state_is_unchanged():
    probe = probe_model(encoder(GRU), feature_batch([6, 6], 3), squared_error)
    before = torch.get_rng_state()
    for instrument in (JacobianNorms(), JacobianNorms(exact_up_to=0)):
        assert instrument.read(probe) == instrument.read(probe)
    assert torch.equal(before, torch.get_rng_state())


def test_log_spaced_lags():
    assert log_spaced(0) == []
    assert log_spaced(1) == [1]
    assert log_spaced(8) == [1, 2, 4, 8]
    assert log_spaced(9) == [1, 2, 4, 8, 9]
