"""From a decoder's probabilities to the symbols it answers: greedy and beam search, a batch at a time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gatescope.models.decoder import Carry, Decoder, Source
from gatescope.sequences import END, IGNORE, first_answer


class Hypotheses(NamedTuple):
    """symbols (B, U) with their END (none where the search was cut off), IGNORE behind it; scores (B,):
    log p of all symbols over their number to the power of the length penalty."""

    symbols: Tensor
    scores: Tensor


def greedy(
    decoder: Decoder, source: Source, carry: Carry, limit: int, length_penalty: float = 1.0
) -> Hypotheses:
    """The most probable symbol at each step, at most `limit` of them."""
    last = torch.full_like(carry.attended[:, 0], END, dtype=torch.long)
    total, count = torch.zeros_like(carry.attended[:, 0]), torch.zeros_like(last)
    ended = torch.zeros_like(last, dtype=torch.bool)
    chosen: list[Tensor] = []
    while len(chosen) < limit and not bool(ended.all()):
        written, carry = decoder.step(last, source, carry)
        found, last = torch.log_softmax(written.logits, dim=-1).max(-1)
        total = total + found.masked_fill(ended, 0)
        count = count + ~ended
        chosen.append(last.masked_fill(ended, IGNORE))
        ended = ended | (last == END)
    return Hypotheses(torch.stack(chosen, dim=1), total / count**length_penalty)


class _Beams(NamedTuple):
    """(B, K) each but symbols (B, K, u): log p, number of symbols, whether ended, and the symbols."""

    total: Tensor
    written: Tensor
    ended: Tensor
    symbols: Tensor

    def scores(self, length_penalty: float) -> Tensor:
        return self.total / self.written**length_penalty


def beam_search(
    decoder: Decoder, source: Source, carry: Carry, limit: int, beam: int, length_penalty: float = 1.0
) -> Hypotheses:
    """The best of `beam` hypotheses kept at each step, all compared by their length-normalised scores.

    Search may lose the greedy answer on its way and end with a worse one: then the greedy answer stands.
    """
    batch = len(carry.attended)
    rows = torch.arange(batch, device=carry.attended.device)
    at_hand = greedy(decoder, source, carry, limit, length_penalty)
    repeated = rows.repeat_interleave(beam)
    source, carry = source.select(repeated), carry.select(repeated)
    beams = _start(carry.attended.view(batch, beam, -1)[..., 0])
    last = torch.full_like(repeated, END)
    while beams.symbols.shape[2] < limit and not bool((beams.ended | beams.total.isinf()).all()):
        written, carry = decoder.step(last, source, carry)
        log_p = torch.log_softmax(written.logits, dim=-1).view(batch, beam, -1)
        beams, parents = _extend(beams, log_p, length_penalty)
        carry = carry.select((rows[:, None] * beam + parents).flatten())
        last = beams.symbols[..., -1].flatten()
    scores, best = beams.scores(length_penalty).max(dim=1)
    return _better(Hypotheses(beams.symbols[rows, best], scores), at_hand)


def _start(like: Tensor) -> _Beams:
    """One empty hypothesis (the others impossible): else all would be alike for ever."""
    total = torch.full_like(like, -torch.inf)
    total[:, 0] = 0
    none = torch.zeros_like(like, dtype=torch.long)
    return _Beams(total, none, none.bool(), none[..., None][..., :0])


def _extend(beams: _Beams, log_p: Tensor, length_penalty: float) -> tuple[_Beams, Tensor]:
    """The best continuations by one symbol, log_p (B, K, V), and the beams (B, K) they continue.

    A hypothesis that has ended goes on as itself, at no cost.
    """
    batch, beam, size = log_p.shape
    log_p = log_p.masked_fill(beams.ended[..., None], -torch.inf)
    log_p[..., END] = log_p[..., END].masked_fill(beams.ended, 0)
    totals = (beams.total[..., None] + log_p).flatten(1)
    counts = (beams.written + ~beams.ended)[..., None].expand(batch, beam, size).flatten(1)
    best = (totals / counts**length_penalty).topk(beam, dim=1).indices
    parents, symbols = best // size, best % size
    before = beams.symbols.gather(1, parents[..., None].expand(-1, -1, beams.symbols.shape[2]))
    extended = _Beams(
        totals.gather(1, best),
        counts.gather(1, best),
        beams.ended.gather(1, parents) | (symbols == END),
        torch.cat([before, symbols[..., None]], dim=2),
    )
    return extended, parents


def _better(found: Hypotheses, other: Hypotheses) -> Hypotheses:
    """Row by row; what stands behind an END is dropped."""
    width = max(found.symbols.shape[1], other.symbols.shape[1])
    first, second = (
        torch.nn.functional.pad(h.symbols, (0, width - h.symbols.shape[1]), value=IGNORE)
        for h in (found, other)
    )
    wins = found.scores >= other.scores
    symbols = first_answer(torch.where(wins[:, None], first, second))
    return Hypotheses(symbols, found.scores.maximum(other.scores))
