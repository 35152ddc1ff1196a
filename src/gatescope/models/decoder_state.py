"""What a decoder reads and carries from step to step."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from gatescope.cells.state import State
from gatescope.models.attention import AttentionMemory


class Source(NamedTuple):
    """The encoder's states as the decoder uses them.

    Attributes:
        memory: the states to attend to; None without attention.
        context: (B, H), the pooled states; None with attention.
    """

    memory: AttentionMemory | None
    context: Tensor | None

    @property
    def rows(self) -> int:
        """Number B of sources."""
        first = self.context if self.memory is None else self.memory.mask
        assert first is not None
        return len(first)

    def select(self, rows: Tensor) -> Source:
        """Select rows of the batch, with repetition allowed."""
        memory = None if self.memory is None else AttentionMemory(*(part[rows] for part in self.memory))
        return Source(memory, None if self.context is None else self.context[rows])


class DecoderState(NamedTuple):
    """The state of the decoder between two steps.

    Attributes:
        layers: the state of each layer.
        attentional: (B, A), the attentional state.
    """

    layers: tuple[State, ...]
    attentional: Tensor

    def select(self, rows: Tensor) -> DecoderState:
        """Select rows of the batch, with repetition allowed."""
        layers = tuple(State(s.h[rows], None if s.c is None else s.c[rows]) for s in self.layers)
        return DecoderState(layers, self.attentional[rows])


class DecoderOutput(NamedTuple):
    """The output of the decoder, for one step without the axis U.

    Attributes:
        logits: (B, U, V).
        weights: (B, U, heads, T); None without attention.
    """

    logits: Tensor
    weights: Tensor | None
