"""Greedy search and beam search for the symbols of a decoder, for a batch at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gatescope.models.decoder import Decoder, DecoderState, Source
from gatescope.sequences import END, IGNORE, first_answer


class Hypotheses(NamedTuple):
    """The generated symbols of a batch.

    Attributes:
        symbols: (B, U), each row up to its END (without one where the limit was reached), then IGNORE.
        scores: (B,), log p of all symbols divided by their number to the power of the length penalty.
    """

    symbols: Tensor
    scores: Tensor


def greedy_search(
    decoder: Decoder, source: Source, state: DecoderState, limit: int, length_penalty: float = 1.0
) -> Hypotheses:
    """Take the most probable symbol at each step.

    Args:
        decoder: the decoder.
        source: as returned by `Decoder.prepare`.
        state: as returned by `Decoder.prepare`.
        limit: largest number of symbols.
        length_penalty: exponent of the number of symbols in the score.
    """
    last = torch.full_like(state.attentional[:, 0], END, dtype=torch.long)
    total, count = torch.zeros_like(state.attentional[:, 0]), torch.zeros_like(last)
    ended = torch.zeros_like(last, dtype=torch.bool)
    symbols: list[Tensor] = []
    while len(symbols) < limit and not bool(ended.all()):
        output, state = decoder.step(last, source, state)
        log_p, last = torch.log_softmax(output.logits, dim=-1).max(-1)
        total = total + log_p.masked_fill(ended, 0)
        count = count + ~ended
        symbols.append(last.masked_fill(ended, IGNORE))
        ended = ended | (last == END)
    return Hypotheses(torch.stack(symbols, dim=1), total / count**length_penalty)


class _Beams(NamedTuple):
    """The K hypotheses of each row in beam search.

    Attributes:
        total: (B, K), log p.
        written: (B, K), number of symbols.
        ended: (B, K) bool, whether END was generated.
        symbols: (B, K, u).
    """

    total: Tensor
    written: Tensor
    ended: Tensor
    symbols: Tensor

    def scores(self, length_penalty: float) -> Tensor:
        return self.total / self.written**length_penalty


def beam_search(
    decoder: Decoder,
    source: Source,
    state: DecoderState,
    limit: int,
    beam: int,
    length_penalty: float = 1.0,
) -> Hypotheses:
    """Keep the best `beam` hypotheses at each step, by their length-normalised scores.

    Beam search may drop the greedy hypothesis and end with a lower score. The greedy hypothesis is returned
    in that case.

    Args:
        decoder: the decoder.
        source: as returned by `Decoder.prepare`.
        state: as returned by `Decoder.prepare`.
        limit: largest number of symbols.
        beam: number of hypotheses.
        length_penalty: exponent of the number of symbols in the score.
    """
    batch = len(state.attentional)
    rows = torch.arange(batch, device=state.attentional.device)
    greedy = greedy_search(decoder, source, state, limit, length_penalty)
    repeated = rows.repeat_interleave(beam)
    source, state = source.select(repeated), state.select(repeated)
    beams = _initial_beams(state.attentional.view(batch, beam, -1)[..., 0])
    last = torch.full_like(repeated, END)
    while beams.symbols.shape[2] < limit and not bool((beams.ended | beams.total.isinf()).all()):
        output, state = decoder.step(last, source, state)
        log_p = torch.log_softmax(output.logits, dim=-1).view(batch, beam, -1)
        beams, parents = _extend(beams, log_p, length_penalty)
        state = state.select((rows[:, None] * beam + parents).flatten())
        last = beams.symbols[..., -1].flatten()
    scores, best = beams.scores(length_penalty).max(dim=1)
    return _best_of(Hypotheses(beams.symbols[rows, best], scores), greedy)


def _initial_beams(like: Tensor) -> _Beams:
    """Return one empty hypothesis for each row; the others have probability 0, else all would stay equal."""
    total = torch.full_like(like, -torch.inf)
    total[:, 0] = 0
    zeros = torch.zeros_like(like, dtype=torch.long)
    return _Beams(total, zeros, zeros.bool(), zeros[..., None][..., :0])


def _extend(beams: _Beams, log_p: Tensor, length_penalty: float) -> tuple[_Beams, Tensor]:
    """Extend the hypotheses by one symbol and keep the best; an ended hypothesis stays as it is.

    Args:
        beams: the hypotheses so far.
        log_p: (B, K, V), log probability of each next symbol.
        length_penalty: exponent of the number of symbols in the score.

    Returns:
        The new hypotheses, and the index (B, K) of the hypothesis that each one extends.
    """
    batch, beam, size = log_p.shape
    log_p = log_p.masked_fill(beams.ended[..., None], -torch.inf)
    log_p[..., END] = log_p[..., END].masked_fill(beams.ended, 0)
    totals = (beams.total[..., None] + log_p).flatten(1)
    counts = (beams.written + ~beams.ended)[..., None].expand(batch, beam, size).flatten(1)
    best = (totals / counts**length_penalty).topk(beam, dim=1).indices
    parents, symbols = best // size, best % size
    previous = beams.symbols.gather(1, parents[..., None].expand(-1, -1, beams.symbols.shape[2]))
    extended = _Beams(
        totals.gather(1, best),
        counts.gather(1, best),
        beams.ended.gather(1, parents) | (symbols == END),
        torch.cat([previous, symbols[..., None]], dim=2),
    )
    return extended, parents


def _best_of(first: Hypotheses, second: Hypotheses) -> Hypotheses:
    """Return the hypothesis with the higher score of each row, without the symbols after END."""
    width = max(first.symbols.shape[1], second.symbols.shape[1])
    padded_first, padded_second = (
        torch.nn.functional.pad(h.symbols, (0, width - h.symbols.shape[1]), value=IGNORE)
        for h in (first, second)
    )
    first_wins = first.scores >= second.scores
    symbols = first_answer(torch.where(first_wins[:, None], padded_first, padded_second))
    return Hypotheses(symbols, first.scores.maximum(second.scores))
