"""The encoder-decoder model, from a sequence of tokens or features to a sequence of symbols.

It is trained with teacher forcing, optionally on a schedule, and evaluated with greedy or beam search
(`search`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gatescope.models.decoder import Decoder, Decoding, shift_right
from gatescope.models.decoder_state import DecoderOutput, DecoderState, Source
from gatescope.models.encoder import AttentionFactory, Prediction
from gatescope.models.generating import GeneratingModel
from gatescope.models.search import Hypotheses, beam_search, greedy_search
from gatescope.models.stack import CellFactory, RecurrentStack
from gatescope.sequences import Batch, TaskSpec, first_answer


class Seq2Seq(GeneratingModel):
    """A recurrent encoder and a recurrent decoder, for transduction.

    The decoder has as many hidden units a layer as the encoder.

    Args:
        task: as in `SequenceModel`.
        cell: as in `SequenceModel`.
        attention: builds the decoder's pooling or attention from (size, bidirectional).
        decoding: settings of the decoder.
        embedding_size: width of the embeddings of tokens and of symbols.
        embedding_std: standard deviation of the new embeddings.
        **options: further arguments of `SequenceModel`.
    """

    updates: int = 0
    """Number of updates so far, for the schedule of teacher forcing; set by the training loop."""

    def __init__(
        self,
        task: TaskSpec,
        cell: CellFactory,
        attention: AttentionFactory,
        decoding: Decoding | None = None,
        embedding_size: int = 100,
        embedding_std: float = 1.0,
        **options: Any,
    ) -> None:
        decoding = decoding or Decoding()

        def build_decoder(stack: RecurrentStack, dropout: float = 0.0) -> Decoder:
            return Decoder(
                task,
                stack.output_size,
                stack.directions == 2,
                cell,
                attention,
                decoding,
                stack.hidden_size,
                embedding_size,
                dropout,
                embedding_std,
            )

        super().__init__(
            task,
            cell,
            embedding_size=embedding_size,
            embedding_std=embedding_std,
            **options,
            readout_modules=lambda stack: build_decoder(stack).budget_modules(),
        )
        self.decoding, self.beam = decoding, decoding.beam
        self.decoder = build_decoder(self.stack, self.embedding_dropout.p)

    def budget_modules(self) -> Iterator[nn.Module]:
        """Yield the recurrent stack and the modules of the decoder that a budget counts."""
        yield self.stack
        yield from self.decoder.budget_modules()

    def readout(
        self,
        states: Tensor,
        lengths: Tensor,
        targets: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Prediction:
        """Compute the logits (B, U, V) of each target step.

        Each step is given the true previous symbol (in training: by the schedule). Without `targets` it is
        given the symbol that greedy search has generated.

        Args:
            states: (B, T, S), the encoder's states.
            lengths: (B,).
            targets: (B, U), the true symbols.
            last: (B, S), the encoder's last states where the stack has returned them.
        """
        source, state = self.decoder.prepare(states, lengths, last)
        if targets is None:
            targets = greedy_search(self.decoder, source, state, self.decoding.max_length).symbols
        output = self._decode(shift_right(first_answer(targets)), source, state)
        return Prediction(output.logits, output.weights)

    def _decode(self, symbols: Tensor, source: Source, state: DecoderState) -> DecoderOutput:
        """Decode with these previous symbols (B, U), or with its own for a share of them."""
        share = 1.0
        if self.training and self.decoding.teacher_forcing < 1:
            share = teacher_forcing_share(self.updates, self.decoding)
        if share == 1:
            output: DecoderOutput = self.decoder(symbols, source, state)
            return output
        logits: list[Tensor] = []
        weights: list[Tensor] = []
        for u in range(symbols.shape[1]):
            previous = symbols[:, u]
            if u:
                own = logits[-1].detach().argmax(-1)
                previous = torch.where(
                    torch.rand(len(previous), device=previous.device) < share, previous, own
                )
            output, state = self.decoder.step(previous, source, state)
            logits.append(output.logits)
            if output.weights is not None:
                weights.append(output.weights)
        return DecoderOutput(torch.stack(logits, 1), torch.stack(weights, 1) if weights else None)

    @torch.no_grad()
    def generate(self, batch: Batch, beam: int = 1) -> Hypotheses:
        """Generate the symbols of each source in a batch; the targets are not used.

        Args:
            batch: inputs and lengths.
            beam: number of hypotheses; 1 for greedy search.
        """
        states, last = self.stack.run(self.embed(batch.inputs), batch.lengths)
        source, state = self.decoder.prepare(states, batch.lengths, last)
        limit = self.decoding.max_length
        if beam == 1:
            return greedy_search(self.decoder, source, state, limit, self.decoding.length_penalty)
        return beam_search(self.decoder, source, state, limit, beam, self.decoding.length_penalty)


def teacher_forcing_share(updates: int, decoding: Decoding) -> float:
    """Return the share of steps that are fed the true previous symbol after so many updates."""
    done = 1.0 if updates >= decoding.schedule_steps else updates / decoding.schedule_steps
    return 1 - done * (1 - decoding.teacher_forcing)
