"""Connectionist temporal classification: a symbol or a blank at each step, without a decoder.

    p(y | x) = Σ_π Π_t p(π_t | x)    over all paths π that become y when repeated symbols are merged and then
                                     blanks are removed

Source: Graves et al. 2006. The head has one output for each symbol of the target vocabulary; END, which no
transcript holds, is the blank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from gatescope.models.attention import Attention
from gatescope.models.ctc_search import greedy_search, prefix_search
from gatescope.models.encoder import AttentionFactory, Prediction
from gatescope.models.generating import GeneratingModel
from gatescope.models.heads import make_head
from gatescope.models.ngram import Counts, witten_bell
from gatescope.models.search import Hypotheses
from gatescope.models.stack import CellFactory
from gatescope.sequences import END, IGNORE, Batch, TaskSpec, first_answer, valid_mask

BLANK = END
"""Index of the blank."""
IMPOSSIBLE = -1e4
"""Log probability of a symbol after the end of a sequence; its exponential is 0 in float32."""


@dataclass(frozen=True)
class CTC:
    """Settings of connectionist temporal classification; the `decoder` config group.

    Args:
        beam: number of hypotheses of prefix beam search on the test split; 1: greedy search, as always in
            validation.
        ngram: order of the language model of symbols that beam search uses, counted in the transcripts of
            train; 0: none.
        ngram_weight: weight of its log probability.
        symbol_bonus: added to the score for each symbol, since each symbol lowers a language model's score.
    """

    beam: Annotated[int, Field(ge=1)] = 1
    ngram: Annotated[int, Field(ge=0, le=4)] = 0
    ngram_weight: Annotated[float, Field(ge=0, le=100)] = 0.5
    symbol_bonus: Annotated[float, Field(ge=-100, le=100)] = 0.0


class CTCModel(GeneratingModel):
    """A recurrent encoder with an output at each step.

    Args:
        task: a transduction.
        cell: as in `SequenceModel`.
        attention: pooling, which is not used.
        decoding: settings of the search.
        **options: further arguments of `SequenceModel`.

    Raises:
        ValueError: attention is given.
    """

    ngram: Tensor | None

    def __init__(
        self, task: TaskSpec, cell: CellFactory, attention: AttentionFactory, decoding: CTC, **options: Any
    ) -> None:
        super().__init__(task, cell, **options)
        if isinstance(attention(self.stack.output_size, self.stack.directions == 2), Attention):
            raise ValueError(
                "decoder=ctc has an output at every step, without attention: use attention=none, or "
                "decoder=recurrent"
            )
        self.decoding, self.beam = decoding, decoding.beam
        self.head = make_head(task, self.stack.output_size, self.embedding_dropout.p)
        shape = (task.output_size,) * decoding.ngram
        self.register_buffer("ngram", torch.zeros(shape) if decoding.ngram else None)

    @property
    def objective(self) -> str:
        """Name of the module of `gatescope.training` that has the loss and the metrics of this model."""
        return "ctc"

    def budget_modules(self) -> Iterator[nn.Module]:
        """Yield the recurrent stack."""
        yield self.stack

    def fit_ngram(self, targets: Sequence[Tensor]) -> None:
        """Count the n-grams of transcripts, of (U,) symbols with END each."""
        if self.ngram is not None:
            counts = Counts(self.task.output_size, self.decoding.ngram)
            for target in targets:
                counts.add(first_answer(target[None])[0])
            self.ngram.copy_(witten_bell(counts))

    def readout(
        self,
        states: Tensor,
        lengths: Tensor,
        targets: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Prediction:
        """Compute the log probability (B, T, V) of each symbol and the blank at each step.

        After the end of a sequence the blank is certain, so that a path over all T steps has the probability
        of the path over the steps of the sequence.
        """
        log_p = torch.log_softmax(self.head(states).float(), dim=-1)
        after = torch.full_like(log_p[0, 0], IMPOSSIBLE)
        after[BLANK] = 0
        return Prediction(torch.where(valid_mask(lengths, states.shape[1])[..., None], log_p, after), None)

    @torch.no_grad()
    def generate(self, batch: Batch, beam: int = 1) -> Hypotheses:
        """Generate the symbols of each source in a batch, by greedy or prefix beam search."""
        states, _ = self.stack.run(self.embed(batch.inputs), batch.lengths)
        log_p = self.readout(states, batch.lengths).values
        if beam == 1:
            return greedy_search(log_p)
        options = self.decoding
        return prefix_search(
            log_p, batch.lengths, beam, self.ngram, options.ngram_weight, options.symbol_bonus
        )


def too_short(inputs: Sequence[int], targets: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Return the examples that no path can produce: index, and the number of steps that they need.

    Args:
        inputs: number of steps of each example.
        targets: (U,) symbols of each, with END.
    """
    found = []
    for row, (steps, target) in enumerate(zip(inputs, targets, strict=True)):
        symbols = target[(target != END) & (target != IGNORE)]
        needed = len(symbols) + int((symbols[1:] == symbols[:-1]).sum())  # a blank between equal symbols
        if steps < needed:
            found.append((row, needed))
    return found
