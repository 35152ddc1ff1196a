"""The recurrent decoder, which generates the target one symbol at a time.

    h_u = cell(e(y_{u-1}), h_{u-1})              with input feeding: cell([e(y_{u-1}); a_{u-1}], h_{u-1})
    c_u = Σ_t weights_ut m_t                     attention with h_u as query; without attention a fixed vector
    a_u = tanh(W [c_u; h_u])                     the attentional state
    p(y_u) = softmax(V a_u + b)

Source: Luong, Pham & Manning 2015, eqs. 5 to 7. Attention comes after the recurrence. Without input feeding,
and with all symbols y_{u-1} given, each layer therefore runs its fused pass over all steps and attention is
computed for all steps at once. With input feeding steps are computed one after another up to a_u, and p(y_u)
at once. m_t are the encoder's states, projected to the decoder's width where the widths differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from gatescope.cells.layer import RecurrentLayer
from gatescope.cells.state import State
from gatescope.models.attention import Attention, Pooling, Readout, last_state
from gatescope.models.decoder_state import DecoderOutput, DecoderState, Source
from gatescope.models.embedding import scaled
from gatescope.models.encoder import AttentionFactory
from gatescope.models.stack import CellFactory
from gatescope.sequences import END, TaskSpec

Share = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""


@dataclass(frozen=True)
class Decoding:
    """Settings of the decoder; the `decoder` config group.

    Args:
        cell: builds a layer, as for the encoder; None for the encoder's cell.
        layers: number of layers.
        input_feeding: feed the attentional state of the previous step (Luong et al. 2015, §3.3).
        tied: use one matrix as embedding and as output weights (Press & Wolf 2017).
        teacher_forcing: share of training steps that are fed the true previous symbol once the schedule has
            ended; the other steps are fed the model's own (Bengio et al. 2015).
        schedule_steps: number of updates over which that share falls linearly from 1.
        beam: number of hypotheses in beam search on the test split; 1 for greedy search.
        length_penalty: a hypothesis of n symbols has the score log p / n^length_penalty.
        max_length: largest number of symbols generated.
    """

    cell: Callable[..., Any] | None = None
    layers: Annotated[int, Field(ge=1)] = 1
    input_feeding: bool = False
    tied: bool = False
    teacher_forcing: Share = 1.0
    schedule_steps: Annotated[int, Field(ge=0)] = 0
    beam: Annotated[int, Field(ge=1)] = 1
    length_penalty: Annotated[float, Field(ge=0)] = 1.0
    max_length: Annotated[int, Field(ge=1)] = 100


class Decoder(nn.Module):
    """A recurrent decoder with optional attention.

    Args:
        task: its `target_vocabulary` has the output symbols.
        source_size: width S of the encoder's states.
        bidirectional: whether the encoder is bidirectional.
        cell: builds a layer from (input_size, hidden_size), unless the settings name a cell.
        attention: builds pooling or attention from (size, bidirectional).
        options: settings of the decoder.
        hidden_size: hidden units of each layer.
        embedding_size: width of the symbol embeddings.
        dropout: dropout probability on embeddings, between layers and before the output layer.
        embedding_std: standard deviation of new symbol embeddings that are not tied to the output layer.
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
        embedding_std: float = 1.0,
    ) -> None:
        super().__init__()
        self.bidirectional = bidirectional
        self.input_feeding = options.input_feeding
        width = embedding_size if options.tied else hidden_size
        self.embedding = scaled(nn.Embedding(task.output_size, embedding_size), embedding_std)
        input_size = embedding_size + (width if self.input_feeding else 0)
        self.layers = nn.ModuleList(
            (options.cell or cell)(input_size if depth == 0 else hidden_size, hidden_size)
            for depth in range(options.layers)
        )
        parts = sum(2 if layer.has_memory_cell else 1 for layer in self._cells)
        self.bridge = nn.Linear(source_size, parts * hidden_size)
        self.project: nn.Module = nn.Identity()
        if source_size != hidden_size:
            self.project = nn.Linear(source_size, hidden_size, bias=False)
        readout = attention(source_size, bidirectional)
        self.attention = readout if isinstance(readout, Pooling) else attention(hidden_size, False)
        self.combine = nn.Linear(2 * hidden_size, width)
        self.output = nn.Linear(width, task.output_size)
        if options.tied:
            self.output.weight = self.embedding.weight
            nn.init.normal_(self.embedding.weight, std=embedding_size**-0.5)
        self.dropout = nn.Dropout(dropout)

    @property
    def _cells(self) -> list[RecurrentLayer]:
        return list(self.layers)  # type: ignore[arg-type]

    def budget_modules(self) -> Iterator[nn.Module]:
        """Yield all modules but the symbol embedding and the output layer."""
        yield from (self.layers, self.bridge, self.project, self.attention, self.combine)

    def prepare(
        self, states: Tensor, lengths: Tensor, last: Tensor | None = None
    ) -> tuple[Source, DecoderState]:
        """Prepare the source and the initial state from the encoder's output.

        Args:
            states: (B, T, S), the encoder's states.
            lengths: (B,).
            last: (B, S), the encoder's last states where the stack has returned them.
        """
        last = last_state(states, lengths, self.bidirectional, last)
        if isinstance(self.attention, Attention):
            source = Source(self.attention.memory(self.project(states), lengths), None)
        else:
            source = Source(None, self.project(self.attention(states, lengths, last).context))
        initial = torch.tanh(self.bridge(last))
        parts = iter(initial.split(self._cells[0].hidden_size, dim=-1))
        layers = tuple(
            State(next(parts), next(parts) if cell.has_memory_cell else None) for cell in self._cells
        )
        return source, DecoderState(layers, initial.new_zeros(len(initial), self.combine.out_features))

    def forward(self, symbols: Tensor, source: Source, state: DecoderState) -> DecoderOutput:
        """Compute all steps with these previous symbols; the output layer reads all steps at once.

        Args:
            symbols: (B, U), the symbol before each step.
            source: as returned by `prepare`.
            state: as returned by `prepare`.
        """
        x = self.dropout(self.embedding(symbols))
        if self.input_feeding:
            steps: list[Tensor] = []
            rows: list[Tensor | None] = []
            for x_u in x.unbind(1):
                state, row = self._advance(x_u, source, state)
                steps.append(state.attentional)
                rows.append(row)
            attentional = torch.stack(steps, 1)
            weights = None if rows[0] is None else torch.stack(rows, 1)  # type: ignore[arg-type]
        else:
            for depth, (cell, initial) in enumerate(zip(self._cells, state.layers, strict=True)):
                x = cell(x if depth == 0 else self.dropout(x), None, initial).h
            attentional, weights = self._attend(x, source)
        return DecoderOutput(self.output(self.dropout(attentional)), weights)

    def step(
        self, symbols: Tensor, source: Source, state: DecoderState
    ) -> tuple[DecoderOutput, DecoderState]:
        """Compute one step.

        A source may have K rows of symbols and state, one after another: the hypotheses of a beam.

        Args:
            symbols: (B K,), the previous symbols.
            source: as returned by `prepare`.
            state: the state after the previous step.

        Returns:
            Logits (B K, V) with weights (B K, heads, T), and the state for the next step.
        """
        state, weights = self._advance(self.dropout(self.embedding(symbols)), source, state)
        return DecoderOutput(self.output(self.dropout(state.attentional)), weights), state

    def _advance(self, x: Tensor, source: Source, state: DecoderState) -> tuple[DecoderState, Tensor | None]:
        """Return the state after a step with these embedded symbols (B K, D), and its weights."""
        if self.input_feeding:
            x = torch.cat([x, state.attentional], dim=-1)
        layers: list[State] = []
        for cell, previous in zip(self._cells, state.layers, strict=True):
            layers.append(cell.step(self.dropout(x) if layers else x, previous))
            x = layers[-1].h
        grouped = x.unflatten(0, (source.rows, -1)) if len(x) != source.rows else x
        attentional, weights = self._attend(grouped, source)
        if grouped is not x:
            attentional = attentional.flatten(0, 1)
            weights = None if weights is None else weights.flatten(0, 1)
        return DecoderState(tuple(layers), attentional), weights

    def _attend(self, h: Tensor, source: Source) -> tuple[Tensor, Tensor | None]:
        """Compute the attentional state (B, …, A) and the weights (B, …, heads, T) from h (B, …, H)."""
        if source.memory is None:
            assert source.context is not None
            context = source.context if h.dim() == 2 else source.context[:, None].expand_as(h)
            readout = Readout(context, None)
        else:
            assert isinstance(self.attention, Attention)
            readout = self.attention.attend(h, source.memory)
        return torch.tanh(self.combine(torch.cat([readout.context, h], dim=-1))), readout.weights


def shift_right(targets: Tensor) -> Tensor:
    """Return the symbol before each target (B, U): END before the first."""
    return torch.cat([torch.full_like(targets[:, :1], END), targets[:, :-1].clamp(min=0)], dim=1)
