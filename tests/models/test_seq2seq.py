"""Encoder and decoder: all steps at once against single steps, padding, greedy and beam search."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gatescope.cells.gru import GRU
from gatescope.cells.lstm import LSTM
from gatescope.cells.mingru import MinGRU
from gatescope.cells.rnn import RNN
from gatescope.models.attention import Additive, Dot, FrozenRandom, General, Pooling, ScaledDot, Uniform
from gatescope.models.decoder import Decoding, shift_right
from gatescope.models.encoder import sizes
from gatescope.models.search import beam_search, greedy_search
from gatescope.models.seq2seq import Seq2Seq, teacher_forcing_share
from gatescope.sequences import END, IGNORE, Batch, TaskSpec, first_answer, valid_mask

TASK = TaskSpec(
    "transduction", "tokens", 9, 6, "exact_match", "max", padding_index=0, target_vocabulary=tuple("$abcde")
)
FEATURES = TaskSpec("transduction", "features", 3, 6, "exact_match", "max", target_vocabulary=tuple("$abcde"))
ATTENTIONS = [Pooling, Additive, Dot, ScaledDot, General, Uniform, FrozenRandom, partial(Additive, heads=2)]
CELLS = [GRU, LSTM, RNN, MinGRU]
few = settings(deadline=None, max_examples=12)
choices = {
    "cell": st.sampled_from(CELLS),
    "attention": st.sampled_from(ATTENTIONS),
    "bidirectional": st.booleans(),
    "input_feeding": st.booleans(),
    "tied": st.booleans(),
    "layers": st.integers(1, 2),
    "seed": st.integers(0, 1000),
}


def model(
    seed: int = 0,
    cell: Any = GRU,
    attention: Any = Additive,
    bidirectional: bool = False,
    task: TaskSpec = TASK,
    dropout: float = 0.0,
    **decoding: Any,
) -> Seq2Seq:
    torch.manual_seed(seed)
    made = Seq2Seq(
        task,
        cell,
        attention,
        Decoding(**{"max_length": 12, **decoding}),
        embedding_size=5,
        hidden_size=8,
        bidirectional=bidirectional,
        dropout=dropout,
    )
    for parameter in made.decoder.output.parameters():
        parameter.data *= 4  # else all symbols are about as likely, and searches have little to choose from
    return made.eval()


def batch(lengths: list[int], seed: int = 0, targets: tuple[int, ...] = (4, 1, 3)) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    n = torch.tensor(lengths)
    tokens = torch.randint(1, 9, (len(n), max(lengths)), generator=generator)
    tokens[~valid_mask(n, max(lengths))] = 0
    rows = []
    for i in range(len(n)):
        symbols = torch.randint(1, 6, (targets[i % len(targets)],), generator=generator)
        rows.append(torch.cat([symbols, torch.tensor([END])]))
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORE)
    return Batch(tokens, n, padded, torch.arange(len(n)))


def stepwise(made: Seq2Seq, given_batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Return logits (B, U, V) and weights from a loop over `Decoder.step`, fed the true symbols."""
    states = made.stack(made.embed(given_batch.inputs), given_batch.lengths)
    source, state = made.decoder.prepare(states, given_batch.lengths)
    logits, weights = [], []
    for symbols in shift_right(given_batch.targets).unbind(1):
        output, state = made.decoder.step(symbols, source, state)
        logits.append(output.logits)
        weights.append(output.weights)
    return torch.stack(logits, 1), None if weights[0] is None else torch.stack(weights, 1)


@few
@given(**choices)
def test_all_steps_at_once_equal_single_steps(**options: Any) -> None:
    made, given_batch = model(**options), batch([5, 3, 1])
    found = made(given_batch)
    logits, weights = stepwise(made, given_batch)
    torch.testing.assert_close(found.values, logits, atol=1e-5, rtol=1e-4)
    if weights is not None:
        torch.testing.assert_close(found.attention, weights, atol=1e-5, rtol=1e-4)
        assert torch.allclose(weights.sum(-1), torch.ones(()))
        assert not weights[1, :, :, 3:].any()  # padding


@few
@given(lengths=st.lists(st.integers(1, 7), min_size=2, max_size=4), **choices)
def test_padding_does_not_matter(lengths: list[int], **options: Any) -> None:
    made, given_batch = model(**options), batch(lengths)
    together = made(given_batch).values
    answers = made.generate(given_batch)
    for b, length in enumerate(lengths):
        target = given_batch.targets[b : b + 1]
        target = target[:, target[0] != IGNORE]
        alone = Batch(
            given_batch.inputs[b : b + 1, :length], torch.tensor([length]), target, torch.tensor([b])
        )
        values = made(alone).values[0]
        torch.testing.assert_close(together[b, : target.shape[1]], values, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(answers.scores[b], made.generate(alone).scores[0], atol=1e-5, rtol=1e-4)


@few
@given(penalty=st.sampled_from([0.0, 0.6, 1.0]), **choices)
def test_beam_search_of_one_equals_greedy_search(penalty: float, **options: Any) -> None:
    made, given_batch = model(**options), batch([5, 3, 1])
    states = made.stack(made.embed(given_batch.inputs), given_batch.lengths)
    source, state = made.decoder.prepare(states, given_batch.lengths)
    one = beam_search(made.decoder, source, state, 12, 1, penalty)
    plain = greedy_search(made.decoder, source, state, 12, penalty)
    assert torch.equal(first_answer(one.symbols), first_answer(plain.symbols))
    torch.testing.assert_close(one.scores, plain.scores)


@few
@given(beam=st.integers(2, 7), penalty=st.sampled_from([0.0, 0.6, 1.0]), **choices)
def test_beam_search_never_scores_below_greedy_search(beam: int, penalty: float, **options: Any) -> None:
    made, given_batch = model(length_penalty=penalty, **options), batch([5, 3, 1])
    wide, plain = made.generate(given_batch, beam), made.generate(given_batch)
    assert bool((wide.scores >= plain.scores - 1e-6).all())
    torch.testing.assert_close(wide.scores, rescored(made, given_batch, wide.symbols, penalty))


@torch.no_grad()
def rescored(made: Seq2Seq, given_batch: Batch, symbols: Tensor, penalty: float) -> Tensor:
    """Return the scores of hypotheses from one pass that is fed them."""
    log_p = torch.log_softmax(made(given_batch._replace(targets=symbols)).values, -1)
    valid = symbols != IGNORE
    each = log_p.gather(-1, symbols.clamp(min=0)[..., None])[..., 0] * valid
    return each.sum(1) / valid.sum(1) ** penalty


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_beam_of_all_prefixes_finds_the_best_sequence(penalty: float) -> None:
    made, given_batch = model(seed=3, length_penalty=penalty, max_length=3), batch([5, 3])
    words = [word for n in range(4) for word in product(range(1, 6), repeat=n)]
    everything = [list(word) if len(word) == 3 else [*word, END] for word in words]
    found = made.generate(given_batch, beam=6**3)
    for row in range(2):
        alone = Batch(*(part[row : row + 1] for part in given_batch))
        best = max(float(rescored(made, alone, torch.tensor([word]), penalty)[0]) for word in everything)
        assert float(found.scores[row]) == pytest.approx(best, abs=1e-5)


def test_hypotheses_end_once_or_at_the_limit() -> None:
    made, given_batch = model(seed=1, max_length=4), batch([4, 4, 4, 2, 1])
    for beam in (1, 3):
        symbols = made.generate(given_batch, beam).symbols
        assert symbols.shape[1] <= 4
        for row in symbols:
            ends = (row == END).nonzero()
            assert len(ends) <= 1
            if len(ends):
                assert (row[int(ends[0]) + 1 :] == IGNORE).all()
            else:
                assert (row != IGNORE).all()


def test_sources_can_be_features() -> None:
    made = model(task=FEATURES, bidirectional=True)
    given_batch = batch([5, 3, 1])._replace(inputs=torch.randn(3, 5, 3))
    assert made(given_batch).values.shape == (3, 5, 6)
    assert made.generate(given_batch).symbols.dtype == torch.int64


def test_further_answers_are_ignored() -> None:
    made, given_batch = model(), batch([5, 3], targets=(3, 2))
    more = torch.cat([given_batch.targets.clone(), torch.full((2, 3), IGNORE)], 1)
    more[0, 4:7] = torch.tensor([2, 1, END])
    assert torch.equal(made(given_batch._replace(targets=more)).values, made(given_batch).values)
    assert torch.equal(first_answer(more), given_batch.targets)


def test_without_targets_the_greedy_hypothesis_is_used() -> None:
    made, given_batch = model(), batch([5, 3])
    states = made.stack(made.embed(given_batch.inputs), given_batch.lengths)
    symbols = made.generate(given_batch).symbols
    expected = made(given_batch._replace(targets=symbols)).values
    torch.testing.assert_close(made.readout(states, given_batch.lengths).values, expected)


def test_tied_embeddings_are_one_matrix() -> None:
    tied, separate = model(tied=True), model(tied=False)
    assert tied.decoder.output.weight is tied.decoder.embedding.weight
    assert separate.decoder.output.weight.shape == (6, 8)
    assert sizes(tied)["total"] < sizes(separate)["total"]


@given(steps=st.integers(0, 100), final=st.floats(0, 1), updates=st.integers(0, 300))
@settings(deadline=None, max_examples=30)
def test_teacher_forcing_share_falls_from_one_to_its_final_value(
    steps: int, final: float, updates: int
) -> None:
    options = Decoding(teacher_forcing=final, schedule_steps=steps)
    share = teacher_forcing_share(updates, options)
    assert final - 1e-12 <= share <= 1
    assert teacher_forcing_share(updates + 1, options) <= share + 1e-12
    assert teacher_forcing_share(steps, options) == pytest.approx(final)
    if steps:
        assert teacher_forcing_share(0, options) == 1


def test_without_teacher_forcing_a_model_in_training_is_fed_its_own_symbols() -> None:
    made, given_batch = model(teacher_forcing=0.0), batch([5, 3], targets=(4, 4))
    made.train()
    values = made(given_batch).values
    fed = torch.cat([values.argmax(-1), torch.full((2, 1), END)], 1)[:, : values.shape[1]]
    fed = fed.masked_fill(fed == END, 0)
    states = made.stack(made.embed(given_batch.inputs), given_batch.lengths)
    source, state = made.decoder.prepare(states, given_batch.lengths)
    torch.testing.assert_close(
        made.decoder(shift_right(fed), source, state).logits, values, atol=1e-5, rtol=1e-4
    )


def test_gradients_reach_every_parameter() -> None:
    for attention, feeding in product((Additive, ScaledDot, General), (False, True)):
        made = model(attention=attention, input_feeding=feeding, bidirectional=True, cell=LSTM).train()
        made(batch([5, 3])).values.square().mean().backward()
        for name, parameter in made.named_parameters():
            assert parameter.grad is not None, name
            assert float(parameter.grad.abs().sum()) > 0, name
