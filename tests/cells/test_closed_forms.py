"""Adjoints with a closed form."""

from __future__ import annotations

import math

import pytest
import torch

from gatescope.cells.gru import GRU
from gatescope.cells.lstm import LSTM
from gatescope.cells.rnn import RNN
from gatescope.cells.state import State

STEPS = 60


def last_step_only(units: int, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    direct = torch.zeros(1, STEPS, units, dtype=torch.float64)
    direct[:, -1] = torch.nn.functional.normalize(torch.randn(units, dtype=torch.float64), dim=0)
    return direct


def lags() -> torch.Tensor:
    return torch.arange(STEPS - 1, -1, -1, dtype=torch.float64)


@pytest.mark.parametrize("rho", [0.9, 1.0, 1.1])
def test_a_scaled_orthogonal_rnn_decays_as_rho_to_the_lag(rho):
    layer = RNN(2, 8).double()
    with torch.no_grad():
        torch.nn.init.orthogonal_(layer.recurrent_weights)
        for bias in layer.weights[2:]:
            bias.zero_()
        layer.recurrent_weights.mul_(rho)
    x = torch.zeros(1, STEPS, 2, dtype=torch.float64)
    adjoint = layer.adjoint(x, layer(x), last_step_only(8))
    torch.testing.assert_close(adjoint.h.norm(dim=-1)[0], rho ** lags(), rtol=1e-10, atol=0)


def test_a_gru_that_keeps_nine_tenths_has_its_half_life():
    layer = GRU(2, 8).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    layer.start_bias("update", torch.full((8,), math.log(9.0), dtype=torch.float64))
    x = torch.randn(1, STEPS, 2, dtype=torch.float64)
    log_norm = layer.adjoint(x, layer(x), last_step_only(8)).h.norm(dim=-1)[0].log()
    half_life = math.log(2) / float(log_norm.diff().mean())
    assert half_life == pytest.approx(6.578813, abs=1e-6)


def test_an_lstm_with_a_constant_forget_gate_decays_as_its_power():
    layer = LSTM(2, 8).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    layer.start_bias("forget", torch.full((8,), math.log(4.0), dtype=torch.float64))
    x = torch.randn(1, STEPS, 2, dtype=torch.float64)
    direct = last_step_only(8)[:, -1]
    found = layer.adjoint(x, layer(x), None, last=State(torch.zeros_like(direct), direct))
    torch.testing.assert_close(found.c.norm(dim=-1)[0], 0.8 ** lags(), rtol=1e-10, atol=0)
