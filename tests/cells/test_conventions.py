"""One network under three conventions: the article's equations, torch's and Keras's."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import pytest
import torch

from gatescope.cells.gru import GRU
from gatescope.cells.gru_article import GRUArticle
from gatescope.cells.lstm import LSTM
from gatescope.cells.rnn import RNN
from gatescope.sequences import valid_mask

D, H, T = 3, 5, 9
LENGTHS = torch.tensor([9, 6, 1])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def article_states(x, w, u, b):
    """Return the states by the article's equations in numpy; w, u, b hold r, z and h~ in this order."""
    h, states = np.zeros((x.shape[0], H)), []
    for t in range(x.shape[1]):
        r = sigmoid(x[:, t] @ w[0].T + h @ u[0].T + b[0])
        z = sigmoid(x[:, t] @ w[1].T + h @ u[1].T + b[1])
        candidate = np.tanh(x[:, t] @ w[2].T + r * (h @ u[2].T) + b[2])
        h = (1 - z) * h + z * candidate
        states.append(h)
    return np.stack(states, axis=1)


@pytest.fixture
def article():
    rng = np.random.default_rng(0)
    shapes = ((3, H, D), (3, H, H), (3, H))
    return rng.normal(size=(2, T, D)), *(rng.normal(size=shape) for shape in shapes)


def test_the_article_is_our_gru_after_mapping(article):
    x, w, u, b = article
    sign = np.array([1, -1, 1])
    layer = GRU(D, H).double()
    mapped = (
        (w * sign[:, None, None]).reshape(-1, D),
        (u * sign[:, None, None]).reshape(-1, H),
        (b * sign[:, None]).reshape(-1),
        np.zeros(3 * H),
    )
    with torch.no_grad():
        for parameter, value in zip(layer.weights, mapped, strict=True):
            parameter.copy_(torch.from_numpy(value))
    states = layer(torch.from_numpy(x))
    np.testing.assert_allclose(states.h.detach(), article_states(x, w, u, b), rtol=1e-10, atol=1e-12)
    update = layer.gates(torch.from_numpy(x), states)["update"][:, 0].detach()
    np.testing.assert_allclose(update, sigmoid(x[:, 0] @ w[1].T + b[1]), rtol=1e-10)


def test_the_article_is_gru_article_as_it_stands(article):
    x, w, u, b = article
    layer = GRUArticle(D, H).double()
    with torch.no_grad():
        for parameter, value in ((layer.weight_ih, w), (layer.weight_hh, u), (layer.bias, b)):
            parameter.copy_(torch.from_numpy(value).reshape(parameter.shape))
    states = layer(torch.from_numpy(x))
    np.testing.assert_allclose(states.h.detach(), article_states(x, w, u, b), rtol=1e-10, atol=1e-12)
    update = layer.gates(torch.from_numpy(x), states)["update"][:, 0].detach()
    np.testing.assert_allclose(update, sigmoid(x[:, 0] @ w[1].T + b[1]), rtol=1e-10)
    assert sum(p.numel() for p in layer.parameters()) == 3 * H * (D + H + 1)


def keras_weights(layer, order):
    """Return kernel, recurrent kernel and the two biases (2, chunks·H), in Keras's order of chunks."""
    w, u, b_ih, b_hh = (p.detach() for p in layer.weights)
    rows = torch.cat([torch.arange(H) + chunk * H for chunk in order])
    return [w[rows].T.numpy(), u[rows].T.numpy(), torch.stack([b_ih, b_hh])[:, rows].numpy()]


def keras_states(layer, weights, x):
    layer.build(x.shape)
    layer.set_weights(weights)
    return layer(x, mask=valid_mask(LENGTHS, T)).detach()


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_keras_computes_the_same_states(name):
    torch.manual_seed(0)
    x = torch.randn(3, T, D)
    if name == "gru":
        layer, other = GRU(D, H), keras.layers.GRU(H, return_sequences=True, reset_after=True)
        weights = keras_weights(layer, (1, 0, 2))
    elif name == "lstm":
        layer, other = LSTM(D, H), keras.layers.LSTM(H, return_sequences=True)
        weights = keras_weights(layer, range(4))
    else:
        layer, other = RNN(D, H), keras.layers.SimpleRNN(H, return_sequences=True)
        weights = keras_weights(layer, range(1))
    if name != "gru":
        weights[2] = weights[2].sum(axis=0)
    expected = keras_states(other, weights, x)
    valid = valid_mask(LENGTHS, T)
    torch.testing.assert_close(layer(x, LENGTHS).h[valid], expected[valid], rtol=1e-5, atol=1e-6)
