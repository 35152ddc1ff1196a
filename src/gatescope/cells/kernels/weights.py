"""What a native walk takes of a cell's parameters, and what form its own numbers have."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Kind = Literal["tanh", "relu", "gru", "lstm", "peephole", "mingru", "minlstm"]


class Form(NamedTuple):
    """Blocks of H rows in the weights and of H numbers in a step's deltas, and what a walk keeps of a step
    beside h: gates, `extra` of `Walked`, a memory cell."""

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
    """W (chunks·H, D) and the bias (chunks·H,) of the input's share, U (chunks·H, H) or None, a second bias
    (chunks·H,) beside U's share, whose candidate a GRU's reset gate meets, and peepholes (3, H)."""

    kind: Kind
    w: Tensor
    bias: Tensor
    u: Tensor | None = None
    recurrent_bias: Tensor | None = None
    peepholes: Tensor | None = None

    @property
    def units(self) -> int:
        """H"""
        return self.w.shape[0] // FORMS[self.kind].chunks

    def copied(self) -> NativeWeights:
        """As they are now, whatever training does to them."""
        kept = (None if part is None else part.detach().clone() for part in self[1:])
        return NativeWeights(self.kind, *kept)  # type: ignore[arg-type]

    def bias_gradients(self, total: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of both biases, from the sum of a walk's deltas (widths·H,)."""
        width = len(self.bias)
        if self.kind == "gru":  # the reset gate meets the candidate's recurrent share alone
            return total[:width], torch.cat([total[: 2 * self.units], total[width:]])
        # Each its own: clipping works in place.
        return total, None if self.recurrent_bias is None else total.clone()
