"""Weights of Keras in modules of torch: the same states, and a look inside."""

from __future__ import annotations

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import pytest
import torch

import gatescope
from gatescope.watching.errors import WatchError


def built(layer: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return a layer with random biases, an input, and the layer's states."""
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    layer(x)
    generator = np.random.default_rng(1)
    layer.set_weights([generator.normal(size=w.shape).astype("float32") for w in layer.weights])
    return layer, x, layer(x).detach().numpy()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("GRU", {}),
        ("LSTM", {}),
        ("SimpleRNN", {}),
        ("SimpleRNN", {"activation": "relu"}),
        ("GRU", {"use_bias": False}),
    ],
)
def test_states_are_those_of_keras(kind: str, options: dict[str, Any]) -> None:
    for bidirectional in (False, True):
        layer = getattr(keras.layers, kind)(4, return_sequences=True, **options)
        layer, x, expected = built(keras.layers.Bidirectional(layer) if bidirectional else layer)
        module = gatescope.from_keras(layer)
        with gatescope.watch(module) as scope:
            states = module(torch.from_numpy(x))[0]
            states.sum().backward()
        np.testing.assert_allclose(states.detach().numpy(), expected, atol=2e-5, rtol=1e-4)
        assert scope[type(module).__name__].states_error < 1e-5


def test_the_gates_of_a_model() -> None:
    model = keras.Sequential(
        [keras.layers.Input((5, 3)), keras.layers.GRU(4, name="gru"), keras.layers.Dense(1)]
    )
    modules = gatescope.from_keras(model)
    x = torch.randn(2, 5, 3)
    with gatescope.watch(modules) as scope:
        modules["gru"](x)
    kernel = model.get_layer("gru").weights[0].value.detach().numpy()  # biases start at 0
    z = 1 / (1 + np.exp(-(x[:, 0].numpy() @ kernel)[:, :4]))  # the first chunk, with a state of 0
    keep = scope["gru"].gates["keep"].sel(layer=0, direction="forward", step=0)
    np.testing.assert_allclose(keep, z, atol=1e-6)


def test_messages() -> None:
    for layer, message in [
        (keras.layers.GRU(4), "has no weights yet"),
        (built(keras.layers.GRU(4, reset_after=False))[0], "reset_after=False has no counterpart"),
        (
            built(keras.layers.LSTM(4, recurrent_activation="relu"))[0],
            "recurrent_activation=relu has",
        ),
        (built(keras.layers.GRU(4, go_backwards=True))[0], "reverse its input"),
        (built(keras.layers.Bidirectional(keras.layers.GRU(4), merge_mode="sum"))[0], "merge_mode='sum'"),
        (keras.Sequential([keras.layers.Dense(1)], name="flat"), "flat has no GRU, LSTM or SimpleRNN"),
        ("model.keras", "given: str"),
    ]:
        with pytest.raises(WatchError, match=message):
            gatescope.from_keras(layer)
