"""The parameters of a cell in the form that the native kernel reads."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Kind = Literal["tanh", "relu", "gru", "lstm", "peephole", "mingru", "minlstm"]
"""Architectures of the native kernel, as `recurrence.h` exports them."""


class Form(NamedTuple):
    """Sizes of an architecture's buffers.

    Attributes:
        chunks: blocks of H rows in the weights.
        widths: blocks of H values in the pre-activation gradients of a step.
        gates: whether the forward pass stores gates.
        extra: whether it stores the `extra` of `ForwardCache`.
        memory: whether there is a memory cell.
    """

    chunks: int
    widths: int
    gates: bool = True
    extra: bool = False
    memory: bool = False


FORMS: dict[Kind, Form] = {
    "tanh": Form(1, 1, gates=False),
    "relu": Form(1, 1, gates=False),
    "gru": Form(3, 4, extra=True),
    "lstm": Form(4, 4, memory=True),
    "peephole": Form(4, 4, memory=True),
    "mingru": Form(2, 2, extra=True),
    "minlstm": Form(3, 3, extra=True),
}


class NativeWeights(NamedTuple):
    """Parameters of one layer.

    Attributes:
        kind: the architecture.
        w: input weights W (chunks·H, D).
        bias: bias of W x_t (chunks·H,).
        u: recurrent weights U (chunks·H, H), or None.
        recurrent_bias: bias of U h_{t-1} (chunks·H,), or None. A GRU's reset gate multiplies its last chunk.
        peepholes: (3, H) for the gates i, f and o, or None.
    """

    kind: Kind
    w: Tensor
    bias: Tensor
    u: Tensor | None = None
    recurrent_bias: Tensor | None = None
    peepholes: Tensor | None = None

    @property
    def hidden_size(self) -> int:
        """H."""
        return self.w.shape[0] // FORMS[self.kind].chunks

    def copy(self) -> NativeWeights:
        """Return a copy that later updates do not change."""
        copies = (None if part is None else part.detach().clone() for part in self[1:])
        return NativeWeights(self.kind, *copies)  # type: ignore[arg-type]

    def bias_gradients(self, total: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the gradients of both biases.

        Args:
            total: the pre-activation gradients summed over all steps (widths·H,).
        """
        width = len(self.bias)
        if self.kind == "gru":  # the reset gate multiplies the recurrent part of the candidate only
            return total[:width], torch.cat([total[: 2 * self.hidden_size], total[width:]])
        # Two tensors, because gradient clipping works in place.
        return total, None if self.recurrent_bias is None else total.clone()
