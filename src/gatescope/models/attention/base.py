"""The base class of all attention mechanisms, and the functions that they share with pooling."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from gatescope.cells.tensors import padded_lengths
from gatescope.sequences import valid_mask

Heads = Annotated[int, Field(ge=1)]
"""Number of attention heads."""


class Readout(NamedTuple):
    """The result of pooling or attention.

    Attributes:
        context: (B, …, S), the weighted sum of the states.
        weights: (B, …, heads, T), or None for pooling.
    """

    context: Tensor
    weights: Tensor | None


class AttentionMemory(NamedTuple):
    """The states that queries attend to, prepared once for any number of queries.

    Attributes:
        values: (B, T, heads, S/heads), the states split by head.
        keys: (B, T, heads, S/heads), as returned by `Attention.keys`.
        mask: (B, T) bool, true at valid positions.
    """

    values: Tensor
    keys: Tensor
    mask: Tensor


class Attention(nn.Module):
    """Weighted average of the states, with weights from a score of each state against a query.

    Each head uses its own slice of the states. An encoder computes one query from its last state. A decoder
    uses its own state at every target step as the query.

    Args:
        size: width S of the states.
        bidirectional: whether the second half of the states is from the backward direction.
        heads: number of heads; must divide S.

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
        """Compute the unnormalised attention scores of one or more queries.

        Args:
            query: one query, or U queries of a decoder.
            keys: as returned by `keys`.

        Shape:
            query: (B, heads, S/heads) or (B, U, heads, S/heads).
            keys: (B, T, heads, S/heads).
            returns: (B, heads, T) or (B, U, heads, T).
        """

    def keys(self, states: Tensor) -> Tensor:
        """Compute the part of the score that does not depend on the query; the shape stays the same."""
        return states

    def encoder_query(self, states: Tensor, lengths: Tensor, last: Tensor | None) -> Tensor:
        """Return the query (B, S) of an encoder: by default its last state."""
        return last_state(states, lengths, self.bidirectional, last)

    def memory(self, states: Tensor, lengths: Tensor) -> AttentionMemory:
        """Prepare states (B, T, S) for `attend`."""
        values = states.unflatten(-1, (self.heads, self.head_size))
        return AttentionMemory(values, self.keys(values), valid_mask(lengths, states.shape[1]))

    def attend(self, query: Tensor, memory: AttentionMemory) -> Readout:
        """Attend to the memory with one or more queries.

        Shape:
            query: (B, …, S).
            context: (B, …, S).
            weights: (B, …, heads, T).
        """
        batch, steps = memory.mask.shape
        scores = self.score(query.unflatten(-1, (self.heads, self.head_size)), memory.keys)
        mask = memory.mask.view(batch, *[1] * (scores.dim() - 2), steps)
        weights = masked_softmax(scores, mask)
        context = torch.einsum("b...ht,bthd->b...hd", weights, memory.values).flatten(-2)
        return Readout(context, weights)

    def forward(self, states: Tensor, lengths: Tensor, last: Tensor | None = None) -> Readout:
        """Attend to an encoder's states (B, T, S) with its own query.

        Args:
            states: states of the top layer.
            lengths: (B,).
            last: (B, S), the last states where they are already known.
        """
        return self.attend(self.encoder_query(states, lengths, last), self.memory(states, lengths))


def last_state(states: Tensor, lengths: Tensor, bidirectional: bool, known: Tensor | None = None) -> Tensor:
    """Return the last state (B, S) of each sequence.

    The forward direction ends at position length - 1, the backward direction at position 0.

    Args:
        states: (B, T, S).
        lengths: (B,).
        bidirectional: whether the second half of S is from the backward direction.
        known: (B, S), the last states where the stack has returned them; they are returned unchanged.
    """
    if known is not None:
        return known
    if padded_lengths(lengths, states.shape[1]) is None:
        ends = states[:, -1]
    else:
        ends = states[torch.arange(lengths.shape[0], device=states.device), lengths - 1]
    if not bidirectional:
        return ends
    half = states.shape[-1] // 2
    return torch.cat([ends[:, :half], states[:, 0, half:]], dim=-1)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Apply softmax over the last axis, with weight exactly 0 where the mask is false."""
    return torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
