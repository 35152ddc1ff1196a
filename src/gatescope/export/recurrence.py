"""Recurrent layers as ONNX's operators RNN, GRU and LSTM, which take any batch size and number of steps.

torch's own exporter unrolls a recurrence, which fixes both. An operator of ONNX is put into the graph by
`torch.onnx.ops.symbolic` (torch 2.8 or newer) instead.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gatescope.cells.kernels.layer import NativeLayer
from gatescope.cells.kernels.weights import Kind
from gatescope.cells.state import State, States
from gatescope.cells.tensors import zero_padding
from gatescope.models.stack import RecurrentStack

OPSET = 18
"""Version of ONNX's operators."""


class Operator(NamedTuple):
    """An operator of ONNX that computes a recurrence.

    Attributes:
        name: Its name.
        chunks: Our block of rows for each of its blocks: ONNX orders the gates of a GRU z, r, h and those of
            an LSTM i, o, f, c.
        attributes: Its attributes besides the hidden size.
    """

    name: str
    chunks: tuple[int, ...]
    attributes: dict[str, Any] = {}  # noqa: RUF012  a NamedTuple's default, never changed


OPERATORS: dict[Kind, Operator] = {
    "tanh": Operator("RNN", (0,), {"activations": ["Tanh"]}),
    "relu": Operator("RNN", (0,), {"activations": ["Relu"]}),
    "gru": Operator("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    "lstm": Operator("LSTM", (0, 3, 1, 2)),
    "peephole": Operator("LSTM", (0, 3, 1, 2)),
}
"""The operator of each architecture that has one."""
PEEPHOLES = (0, 2, 1)
"""Our peephole for each of ONNX's, which are in the order i, o, f."""


class OnnxLayer(nn.Module):
    """A recurrent layer that is exported as one operator.

    Args:
        layer: The layer, whose kind is one of `OPERATORS`.
    """

    w: Tensor
    u: Tensor
    bias: Tensor
    peepholes: Tensor | None

    def __init__(self, layer: NativeLayer) -> None:
        super().__init__()
        weights, self.operator = layer.native_weights, OPERATORS[layer.kind]
        assert weights.u is not None
        self.hidden_size, self.zero_state = layer.hidden_size, layer.zero_state
        second = torch.zeros_like(weights.bias) if weights.recurrent_bias is None else weights.recurrent_bias
        chunks = self.operator.chunks
        self.register_buffer("w", _reordered(weights.w, chunks)[None])
        self.register_buffer("u", _reordered(weights.u, chunks)[None])
        self.register_buffer(
            "bias", torch.cat([_reordered(one, chunks) for one in (weights.bias, second)])[None]
        )
        peepholes = None if weights.peepholes is None else weights.peepholes[list(PEEPHOLES)].reshape(1, -1)
        self.register_buffer("peepholes", peepholes)

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> States:
        """Run the layer over a batch; see `RecurrentLayer.forward`."""
        inputs: list[Tensor | None] = [x.transpose(0, 1), self.w, self.u, self.bias, lengths.to(torch.int32)]
        if self.peepholes is not None:
            inputs += [None, None, self.peepholes]
        states = torch.onnx.ops.symbolic(
            self.operator.name,
            inputs,
            self.operator.attributes | {"hidden_size": self.hidden_size},
            dtype=x.dtype,
            shape=(x.shape[1], 1, x.shape[0], self.hidden_size),
            version=OPSET,
        )
        return States(zero_padding(states[:, 0].transpose(0, 1), lengths), self.zero_state(x), lengths)


def _reordered(values: Tensor, chunks: tuple[int, ...]) -> Tensor:
    """Return blocks of rows in another order."""
    parts = values.detach().chunk(len(chunks))
    return torch.cat([parts[i] for i in chunks])


def exportable(stack: RecurrentStack) -> bool:
    """Return whether every layer has an operator."""
    return all(isinstance(one, NativeLayer) and one.kind in OPERATORS for one in stack.layers.values())


def use_operators(stack: RecurrentStack) -> None:
    """Replace the layers of a stack by those that are exported as operators."""
    for name, layer in stack.layers.items():
        assert isinstance(layer, NativeLayer)
        stack.layers[name] = OnnxLayer(layer)
