"""Connectionist temporal classification: searches and the loss compared with sums over all paths."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from gatescope.models.ctc import too_short
from gatescope.models.ctc_search import forced_alignment, greedy_search, prefix_search
from gatescope.models.ngram import Counts, witten_bell
from gatescope.sequences import END, IGNORE, TaskSpec
from gatescope.training.ctc import Objective

SYMBOLS = 4
TASK = TaskSpec(
    "transduction", "features", 3, SYMBOLS, "word_error_rate", "min",
    target_vocabulary=("<end>", " ", "a", "b"), target_unit="character",
)  # fmt: skip


def log_probabilities(seed: int, steps: int, rows: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.log_softmax(2 * torch.randn(rows, steps, SYMBOLS, generator=generator), -1)


def transcript(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != END)


def all_transcripts(log_p: Tensor) -> dict[tuple[int, ...], float]:
    """Return p(y | x) of every transcript of (T, V), by the sum over all V^T paths."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(SYMBOLS), repeat=len(log_p)):
        p = math.exp(sum(float(log_p[t, symbol]) for t, symbol in enumerate(path)))
        found[transcript(path)] = found.get(transcript(path), 0.0) + p
    return found


def symbols_of(row: Tensor) -> tuple[int, ...]:
    assert row[row != IGNORE][-1] == END
    return tuple(row[(row != IGNORE) & (row != END)].tolist())


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_the_most_probable_transcript(seed: int) -> None:
    log_p = log_probabilities(seed, 5)
    truth = all_transcripts(log_p[0])
    best = max(truth, key=truth.__getitem__)
    found = prefix_search(log_p, torch.tensor([5]), 10_000)
    assert symbols_of(found.symbols[0]) == best
    assert float(found.scores[0]) == pytest.approx(math.log(truth[best]), abs=1e-4)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_beam_adds_the_language_model_and_the_bonus(order: int) -> None:
    log_p, weight, bonus = log_probabilities(7, 4), 0.7, 0.3
    counts = Counts(SYMBOLS, order)
    for text in ([2, 3, 2, END], [3, 3, 1, 2, END]):
        counts.add(torch.tensor(text))
    ngram = witten_bell(counts)

    def score(symbols: tuple[int, ...], p: float) -> float:
        padded = [END] * (order - 1) + [*symbols, END]
        language = sum(float(ngram[tuple(padded[i : i + order])]) for i in range(len(symbols) + 1))
        return math.log(p) + weight * language + bonus * len(symbols)

    scores = {symbols: score(symbols, p) for symbols, p in all_transcripts(log_p[0]).items()}
    found = prefix_search(log_p, torch.tensor([4]), 10_000, ngram, weight, bonus)
    best = max(scores, key=scores.__getitem__)
    assert symbols_of(found.symbols[0]) == best
    assert float(found.scores[0]) == pytest.approx(scores[best], abs=1e-4)


def test_greedy_search_merges_repeated_symbols_and_removes_blanks() -> None:
    path = [2, 2, END, 2, 3, 3, END, 1]
    log_p = torch.full((1, len(path), SYMBOLS), -9.0)
    for t, symbol in enumerate(path):
        log_p[0, t, symbol] = -0.1
    assert symbols_of(greedy_search(log_p).symbols[0]) == (2, 2, 3, 1)


def test_forced_alignment_is_the_most_probable_path_of_a_transcript() -> None:
    log_p, lengths = log_probabilities(5, 6, rows=3), [6, 5, 4]
    targets = torch.tensor([[2, 2, 3, END], [3, 1, END, IGNORE], [2, END, IGNORE, IGNORE]])
    for row, length in enumerate(lengths):
        log_p[row, length:] = -1e4
        log_p[row, length:, END] = 0
    found = forced_alignment(log_p, targets)
    for row, length in enumerate(lengths):
        symbols = symbols_of(targets[row])
        paths = [
            path for path in itertools.product(range(SYMBOLS), repeat=length) if transcript(path) == symbols
        ]
        best = max(paths, key=lambda path: sum(float(log_p[row, t, symbol]) for t, symbol in enumerate(path)))
        begins = [t for t, one in enumerate(best) if one != END and (t == 0 or best[t - 1] != one)]
        assert found[row, : len(symbols)].tolist() == begins


def test_the_loss_of_padded_sequences_is_the_sum_over_their_own_paths() -> None:
    log_p, lengths = log_probabilities(3, 5, rows=3), [5, 4, 3]
    targets = torch.tensor([[2, 3, END], [2, 2, END], [1, END, IGNORE]])
    for row, length in enumerate(lengths):
        log_p[row, length:] = -1e4
        log_p[row, length:, END] = 0
    losses = Objective(TASK).loss(log_p, targets)
    for row, length in enumerate(lengths):
        symbols = symbols_of(targets[row])
        p = all_transcripts(log_p[row, :length])[symbols]
        assert float(losses[row]) == pytest.approx(-math.log(p) / len(symbols), rel=1e-4)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_n_grams_are_smoothed_by_their_definition(order: int) -> None:
    texts = [[2, 3, 2, 2], [3, 2], [2, 1, 3]]
    counts = Counts(SYMBOLS, order)
    grams: Counter[tuple[int, ...]] = Counter()
    for text in texts:
        counts.add(torch.tensor([*text, END]))
        for n in range(1, order + 1):
            padded = [END] * (n - 1) + [*text, END]
            grams.update(tuple(padded[i : i + n]) for i in range(len(text) + 1))

    def probability(context: tuple[int, ...], symbol: int) -> float:
        following = {w: grams[(*context, w)] for w in range(SYMBOLS) if grams[(*context, w)]}
        lower = probability(context[1:], symbol) if context else 1 / SYMBOLS
        total, kinds = sum(following.values()), len(following)
        return (grams[(*context, symbol)] + kinds * lower) / (total + kinds) if total else lower

    found = witten_bell(counts).exp()
    for gram in itertools.product(range(SYMBOLS), repeat=order):
        assert float(found[gram]) == pytest.approx(probability(gram[:-1], gram[-1]), rel=1e-5)


def test_a_recording_needs_a_blank_between_equal_symbols() -> None:
    targets = [torch.tensor([2, 2, 3, END]), torch.tensor([2, 3, END]), torch.tensor([1, 1, 1, END])]
    assert too_short([4, 2, 4], targets) == [(2, 5)]
