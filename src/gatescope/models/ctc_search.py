"""Greedy search and prefix beam search over the outputs of connectionist temporal classification."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gatescope.models.search import Hypotheses
from gatescope.sequences import END, IGNORE

UNLIKELY = math.log(1e-5)
"""Symbols with a lower log probability do not extend a prefix at this step."""


def best_paths(log_p: Tensor) -> Tensor:
    """Return (B, T): the symbol at each step where it begins, and END elsewhere, of the best path.

    Args:
        log_p: (B, T, V).
    """
    path = log_p.argmax(-1)
    repeated = torch.zeros_like(path, dtype=torch.bool)
    repeated[:, 1:] = path[:, 1:] == path[:, :-1]
    return path.masked_fill(repeated, END)


def greedy_search(log_p: Tensor) -> Hypotheses:
    """Return the transcripts of the best paths, and the log probability of these paths.

    Args:
        log_p: (B, T, V), with a certain blank after the end of a sequence.
    """
    rows = [[symbol for symbol in row if symbol != END] for row in best_paths(log_p).tolist()]
    return Hypotheses(_padded(rows).to(log_p.device), log_p.max(-1).values.sum(1))


def forced_alignment(log_p: Tensor, targets: Tensor) -> Tensor:
    """Return where each symbol of a transcript begins on the most probable path of this transcript.

    Args:
        log_p: (B, T, V), with a certain blank after the end of a sequence.
        targets: (B, U) symbols with END, padded with IGNORE.

    Returns:
        (B, U) steps; that of END and of padding says nothing.
    """
    batch, steps, _ = log_p.shape
    labels = targets.masked_fill(targets == IGNORE, END)
    states = labels.new_full((batch, 2 * labels.shape[1] + 1), END)  # a blank before, between and after
    states[:, 1::2] = labels
    emitted = log_p.gather(2, states[:, None].expand(-1, steps, -1))
    may_skip = torch.zeros_like(states, dtype=torch.bool)  # the blank between two different symbols
    may_skip[:, 2:] = (states[:, 2:] != END) & (states[:, 2:] != states[:, :-2])
    score = torch.full_like(emitted[:, 0], -torch.inf)
    score[:, :2] = emitted[:, 0, :2]
    came_from = []
    for t in range(1, steps):
        one, two = (torch.nn.functional.pad(score, (k, 0), value=-torch.inf)[:, :-k] for k in (1, 2))
        score, moved = torch.stack([score, one, two.masked_fill(~may_skip, -torch.inf)]).max(0)
        score = score + emitted[:, t]
        came_from.append(moved)
    last = 2 * (labels != END).sum(1, keepdim=True)
    ends = torch.cat([last, (last - 1).clamp(min=0)], 1)
    state = ends.gather(1, score.gather(1, ends).argmax(1, keepdim=True))
    begins = torch.zeros_like(targets)
    for t in range(steps - 1, -1, -1):  # the last write to a symbol is that of its first step
        is_symbol = state % 2 == 1
        place = (state // 2).clamp(max=targets.shape[1] - 1)
        begins.scatter_(1, place, torch.where(is_symbol, t, begins.gather(1, place)))
        if t:
            state = state - came_from[t - 1].gather(1, state)
    return begins


class _Prefix(NamedTuple):
    """Log probability of a prefix, of the paths that end with a blank and with its last symbol."""

    blank: float
    symbol: float

    @property
    def total(self) -> float:
        return float(np.logaddexp(self.blank, self.symbol))


NOTHING = _Prefix(-math.inf, -math.inf)


def prefix_search(
    log_p: Tensor,
    lengths: Tensor,
    beam: int,
    ngram: Tensor | None = None,
    weight: float = 0.0,
    bonus: float = 0.0,
) -> Hypotheses:
    """Return the most probable transcripts by prefix beam search (Graves 2008; Hannun et al. 2014).

    The score of a transcript y is log p(y | x) + weight · log p_ngram(y END) + bonus · |y|.

    Args:
        log_p: (B, T, V).
        lengths: (B,).
        beam: number of prefixes that are kept at each step.
        ngram: (V, …, V), log probability of a symbol, the last axis, after those before it; END is the
            symbol before the first and after the last. None for no language model.
        weight: of the language model.
        bonus: for each symbol.
    """
    table = None if ngram is None else ngram.cpu().numpy()
    found = [
        _search(row[:steps], beam, table, weight, bonus)
        for row, steps in zip(log_p.cpu().double().numpy(), lengths.tolist(), strict=True)
    ]
    symbols = _padded([list(prefix) for prefix, _ in found])
    return Hypotheses(symbols.to(log_p.device), torch.tensor([s for _, s in found], device=log_p.device))


def _search(
    log_p: np.ndarray, beam: int, ngram: np.ndarray | None, weight: float, bonus: float
) -> tuple[tuple[int, ...], float]:
    """Return the best transcript of one sequence (T, V) and its score."""
    prefixes: dict[tuple[int, ...], _Prefix] = {(): _Prefix(0.0, -math.inf)}
    priors: dict[tuple[int, ...], float] = {(): 0.0}  # of the language model and the bonus
    for step in log_p:
        likely = [symbol for symbol in np.flatnonzero(step > UNLIKELY).tolist() if symbol != END]
        following: dict[tuple[int, ...], _Prefix] = defaultdict(lambda: NOTHING)
        for prefix, before in prefixes.items():
            last = prefix[-1] if prefix else None
            same = following[prefix]
            repeated = before.symbol + step[last] if last is not None else -math.inf
            following[prefix] = _Prefix(
                np.logaddexp(same.blank, before.total + step[END]), np.logaddexp(same.symbol, repeated)
            )
            for symbol in likely:
                longer = (*prefix, symbol)
                if longer not in priors:
                    priors[longer] = priors[prefix] + bonus + _prior(ngram, weight, prefix, symbol)
                start = before.blank if symbol == last else before.total
                one = following[longer]
                following[longer] = _Prefix(one.blank, np.logaddexp(one.symbol, start + step[symbol]))
        ranked = sorted(following, key=lambda prefix: -following[prefix].total - priors[prefix])
        prefixes = {prefix: following[prefix] for prefix in ranked[:beam]}
    scores = {
        prefix: one.total + priors[prefix] + _prior(ngram, weight, prefix, END)
        for prefix, one in prefixes.items()
    }
    best = max(scores, key=lambda prefix: scores[prefix])
    return best, float(scores[best])


def _prior(ngram: np.ndarray | None, weight: float, prefix: tuple[int, ...], symbol: int) -> float:
    """Return the weighted log probability of a symbol after a prefix."""
    if ngram is None or not weight:
        return 0.0
    order = ngram.ndim
    context = ((END,) * (order - 1) + prefix)[len(prefix) :] if order > 1 else ()
    return weight * float(ngram[(*context, symbol)])


def _padded(rows: list[list[int]]) -> Tensor:
    """Return rows of symbols with END, padded with IGNORE."""
    return pad_sequence([torch.tensor([*row, END]) for row in rows], batch_first=True, padding_value=IGNORE)
