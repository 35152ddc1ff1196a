"""Fixed points and modes against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from gatescope.cells.gru import GRU
from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.lstm import LSTM
from gatescope.cells.minlstm import MinLSTM
from gatescope.cells.rnn import RNN
from gatescope.instruments.fixed_points import Map, distinct, find_fixed_points
from gatescope.instruments.modes import modes


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def zeroed(cell: RecurrentLayer) -> RecurrentLayer:
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
    return cell


def rnn_map(recurrent: Tensor) -> Map:
    """A tanh RNN without biases, which is linear near 0."""
    cell = zeroed(RNN(2, len(recurrent), kernel="torch")).double()
    with torch.no_grad():
        cell.recurrent_weights.copy_(recurrent)
    return Map(cell, torch.zeros(2))


def test_a_linear_network_rests_at_zero_with_its_known_modes() -> None:
    values = torch.tensor([0.95, 0.6, -0.5, 0.2], dtype=torch.float64)
    basis = random(4, 4)
    step = rnn_map(basis @ values.diag() @ basis.inverse())
    found = find_fixed_points(step, 0.01 * random(20, 4, seed=1), 1e-16)
    assert len(found.states) == 1
    assert found.reached == 20
    assert found.states.norm() < 1e-6
    own = modes(step.jacobian(found.states))
    assert own.values.real[0].tolist() == pytest.approx(values.tolist())
    assert own.time_constants[0].tolist() == pytest.approx([1 / -math.log(abs(v)) for v in values])
    assert bool(own.stable.all())
    # The slowest left eigenvector is a row of the inverse of the basis; the projector keeps its mode alone.
    left, right = basis.inverse()[0], basis[:, 0]
    assert own.alignment(left[None, None], 1).item() == pytest.approx(1)
    torch.testing.assert_close(own.projector(1)[0], torch.outer(right, left))


def test_points_on_a_line_attractor_stay_apart() -> None:
    # The state along v is kept, that across it halves.
    v = torch.ones(5, dtype=torch.float64) / math.sqrt(5)
    across = torch.eye(5, dtype=torch.float64) - torch.outer(v, v)
    step = rnn_map(torch.outer(v, v) + 0.5 * across)
    starts = 0.02 * random(60, 5)
    found = find_fixed_points(step, starts, 1e-10, damping=1e-3)
    assert found.reached == 60
    assert len(found.states) > 25
    assert (found.states @ across).norm(dim=1).max() < 1e-4
    assert float((found.states @ v).std()) == pytest.approx(float((starts @ v).std()), rel=0.05)
    own = modes(step.jacobian(found.states))
    assert own.time_constants[:, 0].min() > 1000
    assert own.time_constants[:, 1].max() == pytest.approx(1 / math.log(2), rel=0.01)
    assert own.alignment(v.expand(len(found.states), 1, -1), 1).min() > 0.999


def test_a_rotation_has_a_complex_pair() -> None:
    angle, size = 0.4, 0.98
    turn = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    step = rnn_map(size * torch.tensor(turn, dtype=torch.float64))
    found = find_fixed_points(step, 0.1 * random(9, 2), 1e-18)
    own = modes(step.jacobian(found.states))
    assert own.values[0].angle().abs().tolist() == pytest.approx([angle, angle])
    assert own.time_constants[0].tolist() == pytest.approx([-1 / math.log(size)] * 2)
    assert own.alignment(random(1, 1, 2), 2).item() == pytest.approx(1), "a pair spans the plane"


def test_a_gru_of_one_unit_has_two_stable_points_and_one_between() -> None:
    # Jordan, Sokół & Park 2021: with r = 1, z = ½ and n = tanh(2 h), h rests where h = tanh(2 h).
    cell = zeroed(GRU(1, 1, kernel="torch"))
    with torch.no_grad():
        cell.recurrent_weights[2] = 2.0
        cell.weights[2][0] = 50.0
    root = brentq(lambda h: math.tanh(2 * h) - h, 0.5, 1.0)
    step = Map(cell, torch.zeros(1))
    starts = torch.linspace(-1, 1, 41, dtype=torch.float64)[:, None]
    found = find_fixed_points(step, starts, 1e-20)
    states, order = found.states[:, 0].sort()
    assert states.tolist() == pytest.approx([-root, 0, root], abs=1e-8)
    own = modes(step.jacobian(found.states[order]))
    outside = 0.5 + (1 - root**2)
    assert own.values.real[:, 0].tolist() == pytest.approx([outside, 1.5, outside])
    assert own.stable.tolist() == [True, False, True]
    assert own.time_constants[1].item() == pytest.approx(1 / math.log(1.5)), "a growing mode has one, too"


@pytest.mark.parametrize("cell", [RNN, GRU, LSTM, MinLSTM])
def test_jacobians_agree_with_autograd(cell: type[RecurrentLayer]) -> None:
    torch.manual_seed(0)
    step = Map(cell(3, 4), random(3))
    states = random(5, step.size)
    states[:, :4] = states[:, :4].tanh().abs() + 0.1
    expected = torch.autograd.functional.jacobian(
        lambda s: Map.__call__.__wrapped__(step, s).sum(0), states
    ).transpose(0, 1)
    torch.testing.assert_close(step.jacobian(states), expected)
    expected = torch.stack(
        [
            torch.autograd.functional.jacobian(
                lambda x, s=s: Map.__call__.__wrapped__(step, s[None], x[None])[0], step.x
            )
            for s in states
        ]
    )
    torch.testing.assert_close(step.input_jacobian(states), expected)


def test_a_map_without_a_fixed_point_has_minima_above_the_tolerance() -> None:
    # h = relu(h + 1) has speed 1 everywhere above −1.
    cell = zeroed(RNN(1, 1, nonlinearity="relu", kernel="torch"))
    with torch.no_grad():
        cell.recurrent_weights.fill_(1.0)
        cell.weights[2].fill_(1.0)
    found = find_fixed_points(Map(cell, torch.zeros(1)), random(6, 1).abs(), 1e-8)
    assert len(found.states) == found.reached == 0
    assert found.minima == 6


def test_outliers_are_dropped_and_the_cell_stays_unchanged() -> None:
    # A minLSTM whose candidate is far away from its states: h rests at the candidate.
    cell = zeroed(MinLSTM(1, 1, kernel="torch"))
    with torch.no_grad():
        cell.bias[2] = 2.0
    before = {name: value.clone() for name, value in cell.state_dict().items()}
    starts = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    found = find_fixed_points(Map(cell, torch.zeros(1)), starts, 1e-8, iterations=150)
    assert (len(found.states), found.outliers) == (0, 5)
    kept = find_fixed_points(Map(cell, torch.zeros(1)), starts, 1e-8, 150, outlier=1e6)
    assert kept.states.item() == pytest.approx(2.5, abs=1e-3)
    for name, value in cell.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[name])


def test_no_two_kept_points_are_near() -> None:
    points = torch.tensor([[0.0], [0.4], [5.0], [5.1], [5.2]])
    assert len(distinct(points, 0.45)) == 2
    assert len(distinct(points, 0.01)) == 5
    assert len(distinct(points[:0], 1.0)) == 0
