"""Attention with fixed weights: the ablations that learned attention is compared with."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from gatescope.models.attention.base import Attention, Heads


class Uniform(Attention):
    """Equal weights on all valid steps: the context is the mean of the states.

    Source: Wiegreffe & Pinter 2019.
    """

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return zeros."""
        return keys.new_zeros(*query.shape[:-1], keys.shape[1])


class FrozenRandom(Attention):
    """Uneven weights without information: random scores by position, drawn once and never trained.

    Scores depend on the position and not on the state, because the encoder could learn to write along a
    fixed random direction.

    Args:
        size: width S of the states.
        bidirectional: whether the second half of the states is from the backward direction.
        heads: number of heads; must divide S.
        spread: standard deviation of the scores, in nats: the effective length is about T·exp(−spread²/2).
        period: number of scores drawn; they repeat in a longer sequence.
    """

    scores: Tensor

    def __init__(
        self,
        size: int,
        bidirectional: bool,
        heads: Heads = 1,
        spread: Annotated[float, Field(ge=0)] = 1.5,
        period: Annotated[int, Field(ge=1)] = 1024,
    ) -> None:
        super().__init__(size, bidirectional, heads)
        self.register_buffer("scores", spread * torch.randn(heads, period))

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return the fixed score of each position."""
        position = torch.arange(keys.shape[1], device=keys.device) % self.scores.shape[1]
        return self.scores[:, position].expand(*query.shape[:-1], -1)
