"""From the states of all steps to one vector a sequence: pooling, and attention over recurrent states.

Every variant maps states (B, T, S) and lengths (B,), with `last_state` (B, S) if it is known, to a `Readout`:
context (B, S) and, for attention, weights (B, heads, T) that are exactly 0 on padding and sum to 1.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from gatescope.cells.tensors import padded_lengths
from gatescope.sequences import valid_mask

Heads = Annotated[int, Field(ge=1)]


class Readout(NamedTuple):
    context: Tensor
    weights: Tensor | None


def last_state(states: Tensor, lengths: Tensor, bidirectional: bool, known: Tensor | None = None) -> Tensor:
    """(B, S): where each direction ends: the forward half at length - 1, the backward half at 0; or `known`,
    which the stack has yielded."""
    if known is not None:
        return known
    if padded_lengths(lengths, states.shape[1]) is None:
        ends = states[:, -1]
    else:
        ends = states[torch.arange(len(lengths), device=states.device), lengths - 1]
    if not bidirectional:
        return ends
    half = states.shape[-1] // 2
    return torch.cat([ends[:, :half], states[:, 0, half:]], dim=-1)


class Pooling(nn.Module):
    """No attention: the last state, the mean or the maximum over valid steps."""

    def __init__(
        self, size: int, bidirectional: bool, reduce: Literal["last", "mean", "max"] = "last"
    ) -> None:
        super().__init__()
        self.bidirectional, self.reduce = bidirectional, reduce

    def forward(self, states: Tensor, lengths: Tensor, last: Tensor | None = None) -> Readout:
        if self.reduce == "last":
            return Readout(last_state(states, lengths, self.bidirectional, last), None)
        mask = valid_mask(lengths, states.shape[1])[..., None]
        if self.reduce == "mean":
            return Readout((states * mask).sum(1) / lengths[:, None], None)
        return Readout(states.masked_fill(~mask, -torch.inf).amax(1), None)


class Memory(NamedTuple):
    """States to attend to, made ready for any number of queries: split (B, T, heads, S/heads), keys as
    `Attention.keys` gives them, mask (B, T)."""

    split: Tensor
    keys: Tensor
    mask: Tensor


class Attention(nn.Module):
    """Scores every state against a query, a head at a time: each head owns a slice of the state.

    An encoder asks once, with its last state; a decoder asks with a state of its own at every target step.

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
    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """query (B, heads, S/heads), keys (B, T, heads, S/heads) -> (B, heads, T).

        A decoder asks for all target steps at once: query (B, U, heads, S/heads) -> (B, U, heads, T).
        """

    def keys(self, states: Tensor) -> Tensor:
        """(B, T, heads, S/heads) likewise: what `score` needs of the states whatever the query."""
        return states

    def own_query(self, states: Tensor, lengths: Tensor, last: Tensor | None) -> Tensor:
        """(B, S): what an encoder asks its own states (B, T, S) with."""
        return last_state(states, lengths, self.bidirectional, last)

    def memory(self, states: Tensor, lengths: Tensor) -> Memory:
        split = states.unflatten(-1, (self.heads, self.head_size))
        return Memory(split, self.keys(split), valid_mask(lengths, states.shape[1]))

    def read(self, query: Tensor, memory: Memory) -> Readout:
        """query (B, …, S) -> context (B, …, S), weights (B, …, heads, T)."""
        batch, steps = memory.mask.shape
        scores = self.score(query.unflatten(-1, (self.heads, self.head_size)), memory.keys)
        mask = memory.mask.view(batch, *[1] * (scores.dim() - 2), steps)
        weights = masked_softmax(scores, mask)
        context = torch.einsum("b...ht,bthd->b...hd", weights, memory.split).flatten(-2)
        return Readout(context, weights)

    def forward(self, states: Tensor, lengths: Tensor, last: Tensor | None = None) -> Readout:
        return self.read(self.own_query(states, lengths, last), self.memory(states, lengths))


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

    def keys(self, states: Tensor) -> Tensor:
        return torch.einsum("bthd,hde->bthe", states, self.key) + self.bias

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        queries = torch.einsum("b...hd,hde->b...he", query, self.query).unsqueeze(-3)
        keys = keys.view(len(keys), *[1] * (queries.dim() - 4), *keys.shape[1:])
        return torch.einsum("b...the,he->b...ht", torch.tanh(keys + queries), self.v)


class Dot(Attention):
    """score = qᵀ h_t (Luong et al. 2015, "dot"), with the last state as the query; no parameters."""

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        return torch.einsum("b...hd,bthd->b...ht", query, keys)


class General(Attention):
    """score = qᵀ W h_t a head (Luong et al. 2015, "general"), with the last state as the query q."""

    def __init__(self, size: int, bidirectional: bool, heads: Heads = 1) -> None:
        super().__init__(size, bidirectional, heads)
        width = self.head_size
        self.weight = nn.Parameter(torch.empty(heads, width, width))
        nn.init.uniform_(self.weight, -1 / math.sqrt(width), 1 / math.sqrt(width))

    def keys(self, states: Tensor) -> Tensor:
        return torch.einsum("hde,bthe->bthd", self.weight, states)

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        return torch.einsum("b...hd,bthd->b...ht", query, keys)


class ScaledDot(Attention):
    """score = (u + q)ᵀ h_t / √(S/heads) (Vaswani et al. 2017), with a u a head that is learned and all share.

    An encoder asks with u alone: what is looked for does not depend on the last state. A decoder's own state
    is the query q.
    """

    def __init__(self, size: int, bidirectional: bool, heads: Heads = 1) -> None:
        super().__init__(size, bidirectional, heads)
        self.query = nn.Parameter(torch.randn(heads, self.head_size))

    def own_query(self, states: Tensor, lengths: Tensor, last: Tensor | None) -> Tensor:
        return torch.zeros_like(states[:, 0])

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        return torch.einsum("b...hd,bthd->b...ht", query + self.query, keys) / math.sqrt(self.head_size)


class Uniform(Attention):
    """Every valid step weighs the same: the ablation against which learned weights must show their worth
    (Wiegreffe & Pinter 2019)."""

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        return keys.new_zeros(*query.shape[:-1], keys.shape[1])


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

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        position = torch.arange(keys.shape[1], device=keys.device) % self.scores.shape[1]
        return self.scores[:, position].expand(*query.shape[:-1], -1)
