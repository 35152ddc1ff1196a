"""From the states of all steps to one vector a sequence: pooling, and attention over recurrent states.

Every variant maps states (B, T, S) and lengths (B,) to a `Readout`: context (B, S) and, for attention,
weights (B, heads, T) that are exactly 0 on padding and sum to 1.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from gatescope.data.base import valid_mask

Heads = Annotated[int, Field(ge=1)]


class Readout(NamedTuple):
    context: Tensor
    weights: Tensor | None


def last_state(states: Tensor, lengths: Tensor, bidirectional: bool) -> Tensor:
    """(B, S): where each direction ends: the forward half at length - 1, the backward half at 0."""
    rows = torch.arange(len(lengths), device=states.device)
    if not bidirectional:
        return states[rows, lengths - 1]
    half = states.shape[-1] // 2
    return torch.cat([states[rows, lengths - 1, :half], states[:, 0, half:]], dim=-1)


class Pooling(nn.Module):
    """No attention: the last state, the mean or the maximum over valid steps."""

    def __init__(
        self, size: int, bidirectional: bool, reduce: Literal["last", "mean", "max"] = "last"
    ) -> None:
        super().__init__()
        self.bidirectional, self.reduce = bidirectional, reduce

    def forward(self, states: Tensor, lengths: Tensor) -> Readout:
        if self.reduce == "last":
            return Readout(last_state(states, lengths, self.bidirectional), None)
        mask = valid_mask(lengths, states.shape[1])[..., None]
        if self.reduce == "mean":
            return Readout((states * mask).sum(1) / lengths[:, None], None)
        return Readout(states.masked_fill(~mask, -torch.inf).amax(1), None)


class Attention(nn.Module):
    """Scores every state against the last one, a head at a time: each head owns a slice of the state.

    Args:
        size: width S of the states.
        bidirectional: whether the halves of the states run in opposite directions.
        heads: must divide S.
    Raises:
        ValueError: `heads` does not divide `size`.
    """

    def __init__(self, size: int, bidirectional: bool, heads: Heads = 1) -> None:
        super().__init__()
        if size % heads:
            raise ValueError(
                f"attention.heads={heads} does not divide the width of the states, {size}: "
                f"choose a divisor, or another model.hidden_size"
            )
        self.bidirectional, self.heads, self.head_size = bidirectional, heads, size // heads

    @abstractmethod
    def score(self, query: Tensor, states: Tensor) -> Tensor:
        """query (B, heads, S/heads), states (B, T, heads, S/heads) -> (B, heads, T)."""

    def forward(self, states: Tensor, lengths: Tensor) -> Readout:
        batch, steps, size = states.shape
        split = states.view(batch, steps, self.heads, self.head_size)
        query = last_state(states, lengths, self.bidirectional).view(batch, self.heads, self.head_size)
        weights = masked_softmax(self.score(query, split), valid_mask(lengths, steps)[:, None])
        context = torch.einsum("bht,bthd->bhd", weights, split).reshape(batch, size)
        return Readout(context, weights)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis, exactly 0 where the mask is false; finite for a single valid position."""
    return torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)


class Additive(Attention):
    """score = vᵀ tanh(W h_t + U q) a head (Bahdanau et al. 2015), with the last state as the query q."""

    def __init__(self, size: int, bidirectional: bool, heads: Heads = 1) -> None:
        super().__init__(size, bidirectional, heads)
        width = self.head_size
        self.key = nn.Parameter(torch.empty(heads, width, width))
        self.query = nn.Parameter(torch.empty(heads, width, width))
        self.bias = nn.Parameter(torch.zeros(heads, width))
        self.v = nn.Parameter(torch.empty(heads, width))
        for parameter in (self.key, self.query, self.v):
            nn.init.uniform_(parameter, -1 / math.sqrt(width), 1 / math.sqrt(width))

    def score(self, query: Tensor, states: Tensor) -> Tensor:
        keys = torch.einsum("bthd,hde->bthe", states, self.key)
        queries = torch.einsum("bhd,hde->bhe", query, self.query)[:, None]
        return torch.einsum("bthe,he->bht", torch.tanh(keys + queries + self.bias), self.v)


class Dot(Attention):
    """score = qᵀ h_t (Luong et al. 2015, "dot"), with the last state as the query; no parameters."""

    def score(self, query: Tensor, states: Tensor) -> Tensor:
        return torch.einsum("bhd,bthd->bht", query, states)


class General(Attention):
    """score = qᵀ W h_t a head (Luong et al. 2015, "general"), with the last state as the query q."""

    def __init__(self, size: int, bidirectional: bool, heads: Heads = 1) -> None:
        super().__init__(size, bidirectional, heads)
        width = self.head_size
        self.weight = nn.Parameter(torch.empty(heads, width, width))
        nn.init.uniform_(self.weight, -1 / math.sqrt(width), 1 / math.sqrt(width))

    def score(self, query: Tensor, states: Tensor) -> Tensor:
        return torch.einsum("bhd,hde,bthe->bht", query, self.weight, states)


class ScaledDot(Attention):
    """score = uᵀ h_t / √(S/heads) (Vaswani et al. 2017), with a learned query u a head that all sequences
    share: what is looked for does not depend on the last state."""

    def __init__(self, size: int, bidirectional: bool, heads: Heads = 1) -> None:
        super().__init__(size, bidirectional, heads)
        self.query = nn.Parameter(torch.randn(heads, self.head_size))

    def score(self, query: Tensor, states: Tensor) -> Tensor:
        return torch.einsum("hd,bthd->bht", self.query, states) / math.sqrt(self.head_size)


class Uniform(Attention):
    """Every valid step weighs the same: the ablation against which learned weights must show their worth
    (Wiegreffe & Pinter 2019)."""

    def score(self, query: Tensor, states: Tensor) -> Tensor:
        return states.new_zeros(len(states), self.heads, states.shape[1])


class FrozenRandom(Attention):
    """Weights as uneven as learned ones that say nothing: scores by position, drawn once with the run's seed
    and never trained. By position, because a fixed random direction is one that the encoder can write to.

    Args:
        spread: standard deviation of the scores, in nats: the effective length is about T·exp(−spread²/2).
        period: scores drawn; a longer sequence meets them again.
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

    def score(self, query: Tensor, states: Tensor) -> Tensor:
        position = torch.arange(states.shape[1], device=states.device) % self.scores.shape[1]
        return self.scores[:, position].expand(len(states), -1, -1)
