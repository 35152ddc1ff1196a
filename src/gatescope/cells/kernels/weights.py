"""What a native walk takes of a cell's parameters."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from gatescope.cells.kernels.walk import Kind


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

    @torch.no_grad()
    def fed(self, packed: Tensor) -> Tensor:
        """(N, D) -> (N, chunks·H): the input's share of the pre-activations, and all that does not depend on
        the state."""
        bias = self.bias
        if self.kind == "gru":
            assert self.recurrent_bias is not None
            both = bias[: self._gates] + self.recurrent_bias[: self._gates]
            bias = torch.cat([both, bias[self._gates :]])
        elif self.recurrent_bias is not None:
            bias = bias + self.recurrent_bias
        return linear(packed, self.w, bias).to(self.w.dtype)

    def bias_gradients(self, deltas: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of both biases, from a walk's deltas (N, widths·H)."""
        total, width = deltas.sum(0), len(self.bias)
        if self.kind == "gru":
            return total[:width], torch.cat([total[: self._gates], total[width:]])
        # Each its own: clipping works in place.
        return total, None if self.recurrent_bias is None else total.clone()
