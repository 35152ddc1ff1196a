"""Attention mechanisms with a learned or content-based score."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from gatescope.models.attention.base import Attention, Heads


class Additive(Attention):
    """Additive attention: score = vᵀ tanh(W h_t + U q + b) for each head.

    Source: Bahdanau et al. 2015.

    Args:
        size: width S of the states.
        bidirectional: whether the second half of the states is from the backward direction.
        heads: number of heads; must divide S.
    """

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
        """Compute W h_t + b."""
        return torch.einsum("bthd,hde->bthe", states, self.key) + self.bias

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """Compute vᵀ tanh(keys + U q)."""
        queries = torch.einsum("b...hd,hde->b...he", query, self.query).unsqueeze(-3)
        keys = keys.view(keys.shape[0], *[1] * (queries.dim() - 4), *keys.shape[1:])
        return torch.einsum("b...the,he->b...ht", torch.tanh(keys + queries), self.v)


class Adversarial(Additive):
    """Additive attention that `training.adversarial` trains to differ from that of another run.

    Args:
        size: as in `Additive`.
        bidirectional: as in `Additive`.
        heads: as in `Additive`.
        divergence: weight of the divergence of the attention weights in the loss.
    """

    def __init__(
        self,
        size: int,
        bidirectional: bool,
        heads: Heads = 1,
        divergence: Annotated[float, Field(ge=0)] = 0.01,
    ) -> None:
        super().__init__(size, bidirectional, heads)
        self.divergence = divergence


class Dot(Attention):
    """Dot-product attention: score = qᵀ h_t for each head; no parameters.

    Source: Luong et al. 2015, "dot".
    """

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """Compute qᵀ h_t."""
        return torch.einsum("b...hd,bthd->b...ht", query, keys)


class General(Attention):
    """Bilinear attention: score = qᵀ W h_t for each head.

    Source: Luong et al. 2015, "general".

    Args:
        size: width S of the states.
        bidirectional: whether the second half of the states is from the backward direction.
        heads: number of heads; must divide S.
    """

    def __init__(self, size: int, bidirectional: bool, heads: Heads = 1) -> None:
        super().__init__(size, bidirectional, heads)
        width = self.head_size
        self.weight = nn.Parameter(torch.empty(heads, width, width))
        nn.init.uniform_(self.weight, -1 / math.sqrt(width), 1 / math.sqrt(width))

    def keys(self, states: Tensor) -> Tensor:
        """Compute W h_t."""
        return torch.einsum("hde,bthe->bthd", self.weight, states)

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """Compute qᵀ keys."""
        return torch.einsum("b...hd,bthd->b...ht", query, keys)


class ScaledDot(Attention):
    """Scaled dot-product attention: score = (u + q)ᵀ h_t / √(S/heads) for each head.

    The vector u is learned and the same for all sequences. An encoder uses u alone (q = 0). A decoder uses
    its own state as q. Source of the scaling: Vaswani et al. 2017.

    Args:
        size: width S of the states.
        bidirectional: whether the second half of the states is from the backward direction.
        heads: number of heads; must divide S.
    """

    def __init__(self, size: int, bidirectional: bool, heads: Heads = 1) -> None:
        super().__init__(size, bidirectional, heads)
        self.query = nn.Parameter(torch.randn(heads, self.head_size))

    def encoder_query(self, states: Tensor, lengths: Tensor, last: Tensor | None) -> Tensor:
        """Return zeros (B, S): the query of an encoder is u alone."""
        return torch.zeros_like(states[:, 0])

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """Compute (u + q)ᵀ h_t / √(S/heads)."""
        return torch.einsum("b...hd,bthd->b...ht", query + self.query, keys) / math.sqrt(self.head_size)
