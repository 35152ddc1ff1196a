"""LRU against the complex recurrence of Orvieto et al. 2023, written in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gatescope.cells.lru import LRU

UNITS, INPUTS, STEPS = 5, 3, 12


def paper(x, nu_log, theta_log, gamma_log, b):
    """Return s_t (B, T, N), complex: x_k = diag(λ) x_{k-1} + γ ⊙ B u_k (section 3.4 and appendix A)."""
    decay = np.exp(-np.exp(nu_log) + 1j * np.exp(theta_log))
    s, states = np.zeros((len(x), UNITS), dtype=complex), []
    for x_t in x.transpose(1, 0, 2):
        s = decay * s + np.exp(gamma_log) * (x_t @ b.T)
        states.append(s)
    return np.stack(states, axis=1)


def test_states_are_those_of_the_paper():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=UNITS) for _ in range(3)]
    b = rng.normal(size=(UNITS, INPUTS)) + 1j * rng.normal(size=(UNITS, INPUTS))
    layer, x = LRU(INPUTS, 2 * UNITS).double(), rng.normal(size=(4, STEPS, INPUTS))
    with torch.no_grad():
        for parameter, value in zip((layer.log_rate, layer.log_phase, layer.log_scale), weights, strict=True):
            parameter.copy_(torch.tensor(value))
        layer.weight_ih.copy_(torch.tensor(np.concatenate([b.real, b.imag])))
    states = layer(torch.tensor(x))
    expected = paper(x, *weights, b)
    h = states.h.detach().numpy()
    np.testing.assert_allclose(h[..., :UNITS] + 1j * h[..., UNITS:], expected, rtol=1e-10)
    keep = layer.gates(torch.tensor(x), states)["keep"][0, 0, :UNITS].detach()
    np.testing.assert_allclose(keep, np.exp(-np.exp(weights[0])), rtol=1e-10)


def test_the_start_is_uniform_on_the_ring_and_normalised():
    torch.manual_seed(0)
    layer = LRU(4, 8000, r_min=0.5, r_max=0.9, max_phase=math.pi / 4)
    radius = torch.exp(-layer.log_rate.detach().exp())
    phase = layer.log_phase.detach().exp()
    assert 0.5 <= float(radius.min()) + 1e-6 < 0.51
    assert 0.89 < float(radius.max()) <= 0.9 + 1e-6
    # Uniform in area: the squared radius is uniform.
    assert float(radius.square().mean()) == pytest.approx((0.5**2 + 0.9**2) / 2, rel=1e-2)
    assert 0 < float(phase.min()) < 1e-2
    assert float(phase.max()) <= math.pi / 4 + 1e-6
    torch.testing.assert_close(layer.log_scale.detach().exp(), (1 - radius.square()).sqrt())


def test_the_normalised_states_have_the_variance_of_the_input():
    torch.manual_seed(1)
    layer = LRU(1, 400, r_min=0.5, r_max=0.9)
    with torch.no_grad():
        h = layer(torch.randn(64, 60, 1)).h[:, -1]
    # |B|² is 1 on average: white noise of variance 1 gives E|s|² = 1.
    square = h.square().unflatten(-1, (2, -1)).sum(1).mean()
    assert float(square) == pytest.approx(1, rel=0.15)


def test_the_gradient_decays_as_the_modulus():
    torch.manual_seed(2)
    layer, x = LRU(2, 2).double(), torch.randn(1, 40, 2, dtype=torch.float64)
    grad = torch.zeros(1, 40, 2, dtype=torch.float64)
    grad[:, -1, 0] = 1
    norm = layer.adjoint(x, layer(x), grad).h.norm(dim=-1)[0]
    radius = torch.exp(-layer.log_rate.detach().exp())
    torch.testing.assert_close(norm, radius ** torch.arange(39, -1, -1, dtype=torch.float64))


def test_an_odd_size_and_radii_out_of_order_are_refused():
    with pytest.raises(ValueError, match="hidden_size=5 must be even"):
        LRU(3, 5)
    with pytest.raises(ValueError, match=r"r_min=0\.9 must be below r_max=0\.5"):
        LRU(3, 4, r_min=0.9, r_max=0.5)
