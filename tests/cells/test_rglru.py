"""RG-LRU against the equations of De et al. 2024, written in numpy with a loop over time."""

from __future__ import annotations

import numpy as np
import torch

from gatescope.cells.rglru import RGLRU
from gatescope.cells.state import State

SIZE, STEPS = 6, 9


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def paper(x, w_a, b_a, w_x, b_x, decay):
    """Return h_t (B, T, H) by eqs. 1 to 4 with a = σ(Λ) and c = 8."""
    h, states, a = np.zeros((len(x), SIZE)), [], sigmoid(decay)
    for x_t in x.transpose(1, 0, 2):
        r_t = sigmoid(x_t @ w_a.T + b_a)
        i_t = sigmoid(x_t @ w_x.T + b_x)
        a_t = a ** (8 * r_t)
        h = a_t * h + np.sqrt(1 - a_t**2) * (i_t * x_t)
        states.append(h)
    return np.stack(states, axis=1)


def layer_of(w_a, b_a, w_x, b_x, decay):
    """Return the layer with these weights and the identity as its input projection."""
    layer = RGLRU(SIZE, SIZE).double()
    rows = (torch.tensor(np.concatenate(v)) for v in ((w_a, w_x, np.eye(SIZE)), (b_a, b_x, np.zeros(SIZE))))
    with torch.no_grad():
        for parameter, value in zip((layer.weight_ih, layer.bias), rows, strict=True):
            parameter.copy_(value)
        layer.decay.copy_(torch.tensor(decay))
    return layer


def test_states_and_gates_are_those_of_the_paper():
    rng = np.random.default_rng(0)
    shapes = ((SIZE, SIZE), (SIZE,), (SIZE, SIZE), (SIZE,), (SIZE,))
    weights = [rng.normal(size=shape) for shape in shapes]
    x = rng.normal(size=(3, STEPS, SIZE))
    layer = layer_of(*weights)
    states = layer(torch.tensor(x))
    np.testing.assert_allclose(states.h.detach(), paper(x, *weights), rtol=1e-10)
    gates = layer.gates(torch.tensor(x), states)
    r = sigmoid(x @ weights[0].T + weights[1])
    np.testing.assert_allclose(gates["recurrence"].detach(), r, rtol=1e-10)
    np.testing.assert_allclose(gates["keep"].detach(), sigmoid(weights[4]) ** (8 * r), rtol=1e-10)


def test_the_start_of_a_to_the_eighth_is_uniform_between_the_bounds():
    torch.manual_seed(0)
    a = torch.sigmoid(RGLRU(3, 2000).decay.detach()) ** 8
    assert 0.9 <= float(a.min()) < 0.901
    assert 0.998 < float(a.max()) <= 0.999 + 1e-6
    assert abs(float(a.mean()) - 0.9495) < 2e-3


def test_a_closed_recurrence_gate_keeps_the_state_and_its_gradient_finite():
    layer, x = RGLRU(2, 4), torch.randn(2, 50, 2)
    with torch.no_grad():
        layer.bias[:4] = -200.0  # r_t is 0 in float32
    states = layer(x, state=State(torch.ones(2, 4)))
    torch.testing.assert_close(states.h, torch.ones(2, 50, 4))
    grads = torch.autograd.grad(states.h.sum(), list(layer.parameters()))
    assert all(bool(grad.isfinite().all()) for grad in grads)


def test_the_step_keeps_its_digits_in_float32_where_the_gate_is_almost_closed():
    torch.manual_seed(1)
    layer, x = RGLRU(3, 4), torch.randn(2, 3)
    with torch.no_grad():
        layer.bias[:4] = -12.0
    found = layer.step(x, layer.zero_state(x)).h.double()
    layer = layer.double()
    torch.testing.assert_close(
        found, layer.step(x.double(), layer.zero_state(x.double())).h, rtol=1e-4, atol=0
    )
