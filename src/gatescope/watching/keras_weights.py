"""Recurrent layers of Keras as modules of torch, which can be watched.

Keras orders the gates of a GRU z, r, h and keeps weights as (D, chunks·H); torch orders them r, z, n and
keeps the transpose. Both have h_t = z ⊙ h_{t-1} + (1 − z) ⊙ candidate. The chunks of an LSTM have the same
order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gatescope.watching.errors import WatchError

MODULES: dict[str, Any] = {"GRU": nn.GRU, "LSTM": nn.LSTM, "SimpleRNN": nn.RNN}
ORDER = {"GRU": (1, 0, 2), "LSTM": (0, 1, 2, 3), "SimpleRNN": (0,)}
"""For each chunk of torch's weights, its place in those of Keras."""


def from_keras(layer: Any) -> nn.RNNBase | nn.ModuleDict:
    """Return a layer of Keras as a module of torch with the same weights; see `gatescope.from_keras`."""
    kind = type(layer).__name__
    if kind in MODULES:
        return _module(kind, [layer])
    if kind == "Bidirectional":
        return _bidirectional(layer)
    parts = getattr(layer, "layers", None)
    if parts is None:
        raise WatchError(f"from_keras takes a GRU, LSTM, SimpleRNN, Bidirectional or a model; given: {kind}")
    found = {one.name: one for one in parts if type(one).__name__ in (*MODULES, "Bidirectional")}
    if not found:
        raise WatchError(f"the Keras model {layer.name} has no GRU, LSTM or SimpleRNN among its layers")
    return nn.ModuleDict({name: from_keras(one) for name, one in found.items()})


def _bidirectional(layer: Any) -> nn.RNNBase:
    kind = type(layer.forward_layer).__name__
    if kind not in MODULES or layer.merge_mode != "concat":
        raise WatchError(
            f"{layer.name}: a Bidirectional layer of {kind} with merge_mode={layer.merge_mode!r} has no "
            "counterpart in torch; GRU, LSTM and SimpleRNN with merge_mode='concat' have"
        )
    return _module(kind, [layer.forward_layer, layer.backward_layer])


def _module(kind: str, layers: list[Any]) -> nn.RNNBase:
    """Return one layer, of one direction or two."""
    first = layers[0]
    for layer in layers:
        _check(kind, layer)
    if layers[0].go_backwards and len(layers) == 1:
        raise WatchError(f"{first.name}: go_backwards=True has no counterpart in torch: reverse its input")
    options: dict[str, Any] = {"nonlinearity": first.activation.__name__} if kind == "SimpleRNN" else {}
    weights = [_weights(kind, layer) for layer in layers]
    size = weights[0]["weight_hh"].shape[1]
    with torch.device("meta"):  # draws no random number
        module = MODULES[kind](
            weights[0]["weight_ih"].shape[1],
            size,
            batch_first=True,
            bidirectional=len(layers) == 2,
            **options,
        )
    for parts, suffix in zip(weights, ("_l0", "_l0_reverse"), strict=False):
        for name, values in parts.items():
            setattr(module, name + suffix, nn.Parameter(values))
    return module


def _check(kind: str, layer: Any) -> None:
    """Check that torch has a module with the equations of a layer."""
    if not layer.built:
        raise WatchError(f"{layer.name} has no weights yet: call the Keras model once, or load its weights")
    expected = {"activation": ("tanh", "relu") if kind == "SimpleRNN" else ("tanh",)}
    if kind != "SimpleRNN":
        expected["recurrent_activation"] = ("sigmoid",)
    for option, names in expected.items():
        given = getattr(getattr(layer, option), "__name__", "none")
        if given not in names:
            raise WatchError(f"{layer.name}: {option}={given} has no counterpart in torch; {names[0]} has")
    if kind == "GRU" and not layer.reset_after:
        raise WatchError(f"{layer.name}: a GRU with reset_after=False has no counterpart in torch; True has")


def _weights(kind: str, layer: Any) -> dict[str, Tensor]:
    """Return the weights of one direction by torch's names, without the suffix of the layer."""
    arrays = [_array(variable.value) for variable in layer.weights]
    kernel, recurrent = arrays[:2]
    bias = arrays[2] if len(arrays) > 2 else np.zeros(kernel.shape[1], kernel.dtype)
    two = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    named = {"weight_ih": kernel.T, "weight_hh": recurrent.T, "bias_ih": two[0], "bias_hh": two[1]}
    return {name: _reordered(kind, array) for name, array in named.items()}


def _array(value: Any) -> np.ndarray:
    """Return the value of a Keras variable, on whichever backend."""
    array: np.ndarray = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    return array


def _reordered(kind: str, array: np.ndarray) -> Tensor:
    chunks = np.split(array, len(ORDER[kind]))
    return torch.from_numpy(np.concatenate([chunks[place] for place in ORDER[kind]]).copy())
