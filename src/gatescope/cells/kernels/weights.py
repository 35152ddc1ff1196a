"""What a native walk takes of a cell's parameters."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Kind = Literal["tanh", "relu", "gru", "lstm", "peephole", "mingru", "minlstm"]


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
    def per_unit(self) -> Tensor | None:
        """What the kernel's step adds a unit: a GRU's b_n (H,), or peepholes."""
        if self.kind == "gru":
            assert self.recurrent_bias is not None
            return self.recurrent_bias[self._gates :]
        return self.peepholes

    @property
    def _gates(self) -> int:
        """Rows before a GRU's candidate."""
        return 2 * len(self.bias) // 3

    def copied(self) -> NativeWeights:
        """As they are now, whatever training does to them."""
        kept = (None if part is None else part.detach().clone() for part in self[1:])
        return NativeWeights(self.kind, *kept)  # type: ignore[arg-type]

    def bias_gradients(self, total: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of both biases, from the sum of a walk's deltas (widths·H,)."""
        width = len(self.bias)
        if self.kind == "gru":
            return total[:width], torch.cat([total[: self._gates], total[width:]])
        # Each its own: clipping works in place.
        return total, None if self.recurrent_bias is None else total.clone()
