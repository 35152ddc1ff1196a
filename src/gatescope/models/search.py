"""Greedy search and beam search for the symbols of a decoder, for a batch at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gatescope.models.decoder import Decoder
from gatescope.models.decoder_state import DecoderState, Source
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

    def select(self, rows: Tensor) -> _Beams:
        return _Beams(*(part[rows] for part in self))


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
    greedy = greedy_search(decoder, source, state, limit, length_penalty)
    batch, device = source.rows, state.attentional.device
    found = Hypotheses(
        torch.full((batch, limit), IGNORE, device=device), torch.full_like(greedy.scores, -torch.inf)
    )
    rows = torch.arange(batch, device=device)
    state = state.select(rows.repeat_interleave(beam))
    beams = _initial_beams(state.attentional.view(batch, beam, -1)[..., 0])
    while len(rows):
        last = beams.symbols[..., -1] if beams.symbols.shape[2] else torch.full_like(beams.written, END)
        output, state = decoder.step(last.flatten(), source, state)
        beams, parents = _extend(beams, output.logits.unflatten(0, (-1, beam)), length_penalty)
        width = beams.symbols.shape[2]
        live = ~(beams.ended | beams.total.isinf()).all(1) & (width < limit)
        rest, done = live.nonzero()[:, 0], (~live).nonzero()[:, 0]
        if len(done):
            scores, best = beams.scores(length_penalty)[done].max(dim=1)
            found.symbols[rows[done], :width] = beams.symbols[done, best]
            found.scores[rows[done]] = scores
            rows, beams, source, parents = rows[rest], beams.select(rest), source.select(rest), parents[rest]
        state = state.select((rest[:, None] * beam + parents).flatten())
    return _best_of(found, greedy)


def _initial_beams(like: Tensor) -> _Beams:
    """Return one empty hypothesis for each row; the others have probability 0, else all would stay equal."""
    total = torch.full_like(like, -torch.inf)
    total[:, 0] = 0
    zeros = torch.zeros_like(like, dtype=torch.long)
    return _Beams(total, zeros, zeros.bool(), zeros[..., None][..., :0])


def _extend(beams: _Beams, logits: Tensor, length_penalty: float) -> tuple[_Beams, Tensor]:
    """Extend the hypotheses by one symbol and keep the best; an ended hypothesis stays as it is.

    Only the K most probable symbols after each hypothesis can be among the best K.

    Args:
        beams: the hypotheses so far.
        logits: (B, K, V), of each next symbol.
        length_penalty: exponent of the number of symbols in the score.

    Returns:
        The new hypotheses, and the index (B, K) of the hypothesis that each one extends.
    """
    beam = logits.shape[1]
    each = min(beam, logits.shape[2])
    next_logits, next_symbols = logits.topk(each, dim=-1)
    log_p = next_logits - logits.logsumexp(-1, keepdim=True)
    # After its END a hypothesis has one continuation, END again with probability 1.
    alone = torch.full_like(log_p, -torch.inf)
    alone[..., 0] = 0
    log_p = torch.where(beams.ended[..., None], alone, log_p)
    next_symbols = next_symbols.masked_fill(beams.ended[..., None], END)
    totals = (beams.total[..., None] + log_p).flatten(1)
    counts = (beams.written + ~beams.ended).repeat_interleave(each, dim=1)
    best = (totals / counts**length_penalty).topk(beam, dim=1).indices
    parents, symbols = best // each, next_symbols.flatten(1).gather(1, best)
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
