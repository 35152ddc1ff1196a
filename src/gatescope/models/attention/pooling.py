"""Pooling: one vector for each sequence without attention."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gatescope.models.attention.base import Readout, last_state
from gatescope.sequences import valid_mask


class Pooling(nn.Module):
    """The last state, or the mean or maximum of the states over valid steps.

    Args:
        size: width S of the states; unused, so that all readouts are built in the same way.
        bidirectional: whether the second half of the states is from the backward direction.
        reduce: "last", "mean" or "max".
    """

    def __init__(
        self, size: int, bidirectional: bool, reduce: Literal["last", "mean", "max"] = "last"
    ) -> None:
        super().__init__()
        self.bidirectional, self.reduce = bidirectional, reduce

    def forward(self, states: Tensor, lengths: Tensor, last: Tensor | None = None) -> Readout:
        """Reduce states (B, T, S) to a context (B, S); there are no weights."""
        if self.reduce == "last":
            return Readout(last_state(states, lengths, self.bidirectional, last), None)
        mask = valid_mask(lengths, states.shape[1])[..., None]
        if self.reduce == "mean":
            return Readout((states * mask).sum(1) / lengths[:, None], None)
        return Readout(states.masked_fill(~mask, -torch.inf).amax(1), None)
