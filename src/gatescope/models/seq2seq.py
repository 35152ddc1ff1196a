"""Encoder and decoder: from a sequence of tokens or features to a sequence of symbols.

Trained on true targets (or, by a schedule, on its own), asked by greedy or beam search (`search`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gatescope.models.decoder import Carry, Decoder, Decoding, Source, Written, before
from gatescope.models.encoder import AttentionFactory, Prediction, SequenceModel
from gatescope.models.search import Hypotheses, beam_search, greedy
from gatescope.models.stack import CellFactory, RecurrentStack
from gatescope.sequences import Batch, TaskSpec, first_answer


class Seq2Seq(SequenceModel):
    """A recurrent encoder and a recurrent decoder for transduction.

    Args:
        attention: makes the decoder's attention from (size, bidirectional).
        decoding: how targets are written.
        task, cell, options: as in `SequenceModel`; the decoder has as many units a layer as the encoder.
    """

    updates: int = 0
    """Updates of the weights so far, for the schedule of teacher forcing; set by whoever trains the model."""

    def __init__(
        self,
        task: TaskSpec,
        cell: CellFactory,
        attention: AttentionFactory,
        decoding: Decoding | None = None,
        embedding_size: int = 100,
        **options: Any,
    ) -> None:
        how = decoding or Decoding()

        def writes(stack: RecurrentStack, dropout: float = 0.0) -> Decoder:
            return Decoder(
                task,
                stack.output_size,
                stack.directions == 2,
                cell,
                attention,
                how,
                stack.hidden_size,
                embedding_size,
                dropout,
            )

        super().__init__(
            task,
            cell,
            embedding_size=embedding_size,
            **options,
            rest=lambda stack: writes(stack).between(),
        )
        self.decoding = how
        self.decoder = writes(self.stack, self.embedding_dropout.p)

    def between(self) -> Iterator[nn.Module]:
        yield self.stack
        yield from self.decoder.between()

    def readout(
        self,
        states: Tensor,
        lengths: Tensor,
        targets: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Prediction:
        """Logits (B, U, V) for each target step, given the true symbols before it (in training, by the
        schedule); without `targets`, given those that greedy search writes."""
        source, carry = self.decoder.begin(states, lengths, last)
        if targets is None:
            targets = greedy(self.decoder, source, carry, self.decoding.max_length).symbols
        written = self._write(before(first_answer(targets)), source, carry)
        return Prediction(written.logits, written.weights)

    def _write(self, symbols: Tensor, source: Source, carry: Carry) -> Written:
        forced = 1.0
        if self.training and self.decoding.teacher_forcing < 1:
            forced = forced_share(self.updates, self.decoding)
        if forced == 1 and not self.decoding.input_feeding:
            written: Written = self.decoder(symbols, source, carry)
            return written
        logits: list[Tensor] = []
        weights: list[Tensor] = []
        for u in range(symbols.shape[1]):
            given = symbols[:, u]
            if u and forced < 1:
                own = logits[-1].detach().argmax(-1)
                given = torch.where(torch.rand(len(given), device=given.device) < forced, given, own)
            written, carry = self.decoder.step(given, source, carry)
            logits.append(written.logits)
            if written.weights is not None:
                weights.append(written.weights)
        return Written(torch.stack(logits, 1), torch.stack(weights, 1) if weights else None)

    @torch.no_grad()
    def generate(self, batch: Batch, beam: int = 1) -> Hypotheses:
        """What the model answers to each source of a batch; its targets are not looked at."""
        states, last = self.stack.run(self.embed(batch.inputs), batch.lengths)
        source, carry = self.decoder.begin(states, batch.lengths, last)
        limit = self.decoding.max_length
        if beam == 1:
            return greedy(self.decoder, source, carry, limit, self.decoding.length_penalty)
        return beam_search(self.decoder, source, carry, limit, beam, self.decoding.length_penalty)


def forced_share(updates: int, decoding: Decoding) -> float:
    """Share of steps fed the true symbol after so many updates."""
    done = 1.0 if updates >= decoding.schedule_steps else updates / decoding.schedule_steps
    return 1 - done * (1 - decoding.teacher_forcing)
