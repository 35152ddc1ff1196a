"""The decoder: it writes a target symbol by symbol, reading the source's states as it goes.

    h_u = cell(e(y_{u-1}), h_{u-1})              with input feeding: cell([e(y_{u-1}); a_{u-1}], h_{u-1})
    c_u = Σ_t weights_ut m_t                     attention asked with h_u; without, one vector for all steps
    a_u = tanh(W [c_u; h_u])                     the attentional state
    p(y_u) = softmax(V a_u + b)

Luong, Pham & Manning 2015, eqs. 5 to 7: attention comes after the recurrence. So with all symbols y_{u-1}
given and no input feeding, each layer runs its fused pass over all steps, and attention is asked for all of
them at once; otherwise steps follow one another. m_t are the encoder's states, projected where it is wider.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.state import State
from gatescope.models.attention import Attention, Memory, Pooling, Readout, last_state
from gatescope.models.encoder import AttentionFactory
from gatescope.models.stack import CellFactory
from gatescope.sequences import END, TaskSpec

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Decoding:
    """How targets are written; the `decoder` group of the config.

    Args:
        cell: makes a layer, as an encoder's; None: the encoder's own.
        layers: depth.
        input_feeding: each step also sees the attentional state of the one before (Luong et al. 2015, §3.3).
        tied: one matrix embeds symbols and scores them (Press & Wolf 2017).
        teacher_forcing: share of steps in training that are fed the true symbol before them, once the
            schedule has come to its end; the others are fed the model's own (Bengio et al. 2015).
        schedule_steps: updates over which that share falls, linearly, from 1.
        beam: hypotheses kept when the test split is decoded; 1: greedy.
        length_penalty: a hypothesis of n symbols scores log p / n^length_penalty.
        max_length: symbols after which a target is cut off.
    """

    cell: Any = None
    layers: Annotated[int, Field(ge=1)] = 1
    input_feeding: bool = False
    tied: bool = False
    teacher_forcing: Share = 1.0
    schedule_steps: Annotated[int, Field(ge=0)] = 0
    beam: Annotated[int, Field(ge=1)] = 1
    length_penalty: Annotated[float, Field(ge=0)] = 1.0
    max_length: Annotated[int, Field(ge=1)] = 100


class Source(NamedTuple):
    """What a decoder reads: `memory` to attend to, or without attention one `context` (B, H)."""

    memory: Memory | None
    context: Tensor | None

    def select(self, rows: Tensor) -> Source:
        """The source of each named row (a row may be named many times)."""
        memory = None if self.memory is None else Memory(*(part[rows] for part in self.memory))
        return Source(memory, None if self.context is None else self.context[rows])


class Carry(NamedTuple):
    """What one step hands to the next: the state of each layer, and the attentional state (B, A)."""

    layers: tuple[State, ...]
    attended: Tensor

    def select(self, rows: Tensor) -> Carry:
        layers = tuple(State(s.h[rows], None if s.c is None else s.c[rows]) for s in self.layers)
        return Carry(layers, self.attended[rows])


class Written(NamedTuple):
    """logits (B, U, V); weights (B, U, heads, T), None without attention."""

    logits: Tensor
    weights: Tensor | None


class Decoder(nn.Module):
    """Args:
    task: its `target_vocabulary` is what is written.
    source_size: width S of the encoder's states.
    hidden_size: units a layer.
    attention: makes the readout from (size, bidirectional).
    """

    def __init__(
        self,
        task: TaskSpec,
        source_size: int,
        bidirectional: bool,
        cell: CellFactory,
        attention: AttentionFactory,
        options: Decoding,
        hidden_size: int,
        embedding_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.bidirectional = bidirectional
        self.input_feeding = options.input_feeding
        width = embedding_size if options.tied else hidden_size
        self.embedding = nn.Embedding(task.output_size, embedding_size)
        fed = embedding_size + (width if self.input_feeding else 0)
        self.layers = nn.ModuleList(
            (options.cell or cell)(fed if depth == 0 else hidden_size, hidden_size)
            for depth in range(options.layers)
        )
        parts = sum(2 if layer.has_memory_cell else 1 for layer in self._cells)
        self.bridge = nn.Linear(source_size, parts * hidden_size)
        self.project: nn.Module = nn.Identity()
        if source_size != hidden_size:
            self.project = nn.Linear(source_size, hidden_size, bias=False)
        pools = attention(source_size, bidirectional)
        self.attention = pools if isinstance(pools, Pooling) else attention(hidden_size, False)
        self.combine = nn.Linear(2 * hidden_size, width)
        self.output = nn.Linear(width, task.output_size)
        if options.tied:
            self.output.weight = self.embedding.weight
            nn.init.normal_(self.embedding.weight, std=embedding_size**-0.5)
        self.dropout = nn.Dropout(dropout)

    @property
    def _cells(self) -> list[RecurrentLayer]:
        return list(self.layers)  # type: ignore[arg-type]

    def between(self) -> Iterator[nn.Module]:
        """All but the embedding of symbols and the last map onto them."""
        yield from (self.layers, self.bridge, self.project, self.attention, self.combine)

    def begin(self, states: Tensor, lengths: Tensor, last: Tensor | None = None) -> tuple[Source, Carry]:
        """From the encoder's states (B, T, S), and where they end (B, S): what is read, and the state before
        the first step."""
        last = last_state(states, lengths, self.bidirectional, last)
        if isinstance(self.attention, Attention):
            source = Source(self.attention.memory(self.project(states), lengths), None)
        else:
            source = Source(None, self.project(self.attention(states, lengths, last).context))
        parts = torch.tanh(self.bridge(last))
        given = iter(parts.split(self._cells[0].hidden_size, dim=-1))
        layers = tuple(
            State(next(given), next(given) if cell.has_memory_cell else None) for cell in self._cells
        )
        return source, Carry(layers, parts.new_zeros(len(parts), self.combine.out_features))

    def forward(self, symbols: Tensor, source: Source, carry: Carry) -> Written:
        """All steps at once: `symbols` (B, U), those before each step; not for input feeding."""
        x = self.dropout(self.embedding(symbols))
        for depth, (cell, state) in enumerate(zip(self._cells, carry.layers, strict=True)):
            x = cell(x if depth == 0 else self.dropout(x), None, state).h
        attended, weights = self._attend(x, source)
        return Written(self.output(self.dropout(attended)), weights)

    def step(self, symbols: Tensor, source: Source, carry: Carry) -> tuple[Written, Carry]:
        """`symbols` (B,) -> logits (B, V), weights (B, heads, T); and what the next step is given."""
        x = self.dropout(self.embedding(symbols))
        if self.input_feeding:
            x = torch.cat([x, carry.attended], dim=-1)
        layers: list[State] = []
        for cell, state in zip(self._cells, carry.layers, strict=True):
            layers.append(cell.step(self.dropout(x) if layers else x, state))
            x = layers[-1].h
        attended, weights = self._attend(x, source)
        return Written(self.output(self.dropout(attended)), weights), Carry(tuple(layers), attended)

    def _attend(self, h: Tensor, source: Source) -> tuple[Tensor, Tensor | None]:
        """h (B, …, H) -> the attentional state (B, …, A) and the weights (B, …, heads, T)."""
        if source.memory is None:
            assert source.context is not None
            context = source.context if h.dim() == 2 else source.context[:, None].expand_as(h)
            read = Readout(context, None)
        else:
            assert isinstance(self.attention, Attention)
            read = self.attention.read(h, source.memory)
        return torch.tanh(self.combine(torch.cat([read.context, h], dim=-1))), read.weights


def before(targets: Tensor) -> Tensor:
    """(B, U) targets -> (B, U): the symbol before each, END before the first."""
    return torch.cat([torch.full_like(targets[:, :1], END), targets[:, :-1].clamp(min=0)], dim=1)
