"""Metrics of transduction, compared with direct counting, and whole runs."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

import pytest
import torch
from conftest import FAST, Compose
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu import corpus_chrf
from torch.nn.functional import cross_entropy
from torchmetrics.text import BLEUScore, CHRFScore

from gatescope.config import ConfigError, check
from gatescope.run import run
from gatescope.sequences import END, IGNORE, TaskSpec
from gatescope.tracking.identity import run_id
from gatescope.training.objective import objective_for

DATES = ("data=dates", "data.train=96", "data.validation=32", "data.test=32", "data.batch_size=32", *FAST)


def spec(unit: str = "word") -> TaskSpec:
    vocabulary = ("<end>", *(f"w{i}" for i in range(1, 6)))
    return TaskSpec(
        "transduction", "tokens", 9, 6, "exact_match", "max", target_vocabulary=vocabulary, target_unit=unit
    )  # type: ignore[arg-type]


def padded(rows: list[list[int]]) -> torch.Tensor:
    tensors = [torch.tensor(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=IGNORE)


def edits(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Return the Levenshtein distance by its definition."""

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        change = distance(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        return min(change, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(a), len(b))


words = st.lists(st.integers(1, 5), max_size=5)
cases = st.tuples(words, st.lists(words.filter(bool), min_size=1, max_size=3))


@given(examples=st.lists(cases, min_size=1, max_size=6))
@settings(deadline=None, max_examples=30)
def test_error_rates_use_the_nearest_answer(examples: list[tuple[list[int], list[list[int]]]]) -> None:
    objective = objective_for(spec("phoneme"))
    metrics = objective.metrics()
    wrong = total = failed = 0
    for said, accepted in examples:
        near = min(accepted, key=lambda answer: edits(tuple(said), tuple(answer)) / len(answer))
        wrong, total = wrong + edits(tuple(said), tuple(near)), total + len(near)
        failed += said not in accepted
        target = padded([[i for answer in accepted for i in (*answer, END)]])
        metrics.update(*objective.outcome(padded([[*said, END]]), target))
    found = {name: float(value) for name, value in metrics.compute().items()}
    assert found == pytest.approx(
        {
            "phoneme_error_rate": wrong / total,
            "word_error_rate": failed / len(examples),
            "exact_match": 1 - failed / len(examples),
        },
        abs=1e-6,
    )


def test_sentences_have_bleu_and_chrf() -> None:
    objective = objective_for(spec())
    metrics = objective.metrics()
    said, target = [[1, 2, 3, 4, 5, END], [2, END]], [[1, 2, 3, 4, END], [3, END]]
    metrics.update(*objective.outcome(padded(said), padded(target)))
    plain = [["w1 w2 w3 w4 w5", "w2"], [["w1 w2 w3 w4"], ["w3"]]]
    found = metrics.compute()
    assert float(found["bleu"]) == pytest.approx(100 * float(BLEUScore()(*plain)), abs=1e-4)
    # Papineni's formula: 5 of 6 words, 3 of 4 pairs, 2 of 3 triples, 1 of 2 quadruples; not too short.
    words = [2 / 3, 3 / 4, 2 / 3, 1 / 2]
    assert float(found["bleu"]) == pytest.approx(100 * math.prod(words) ** (1 / 4), abs=1e-3)
    assert float(found["chrf"]) == pytest.approx(
        corpus_chrf(plain[0], [["w1 w2 w3 w4", "w3"]]).score, abs=1e-4
    )
    assert float(found["word_error_rate"]) == pytest.approx(2 / 5)
    assert float(found["exact_match"]) == 0


def test_chrf_counts_no_words() -> None:
    # 8 characters with the last wrong: of its 9 - n n-grams, 8 - n are right, both ways. chrF++ also counts
    # the word pairs, of which none is right, and would be lower.
    names = ("<end>", "<unk>", "abcd", "efgh", "efgx")
    task = TaskSpec(
        "transduction", "tokens", 5, 5, "bleu", "max", target_vocabulary=names, target_unit="word"
    )
    objective = objective_for(task)
    metrics = objective.metrics()
    metrics.update(*objective.outcome(padded([[2, 3, END]]), padded([[2, 4, END]])))
    expected = 100 * sum((8 - n) / (9 - n) for n in range(1, 7)) / 6
    assert float(metrics.compute()["chrf"]) == pytest.approx(expected, abs=1e-4)
    assert 100 * float(CHRFScore()(["abcd efgh"], [["abcd efgx"]])) < expected - 10


def test_the_loss_counts_the_first_answer_and_its_end() -> None:
    objective = objective_for(spec())
    targets = padded([[1, 2, END, 3, END], [4, END]])
    values = torch.zeros(2, 3, 6)
    values[0, 0, 1] = 3.0
    expected = (math.log(math.exp(3) + 5) - 3 + 2 * math.log(6)) / 3
    assert objective.loss(values, targets).tolist() == pytest.approx([expected, math.log(6)])
    right, accuracy = objective.training_outcome(values, targets), objective.training_metrics()
    accuracy.update(*right)
    # argmax is 1 at the first step and END (0) elsewhere: three of the five symbols are right.
    assert float(accuracy.compute()["accuracy"]) == pytest.approx(3 / 5)


def test_smoothed_labels_are_those_of_torch() -> None:
    objective = objective_for(spec(), label_smoothing=0.2)
    targets, values = padded([[1, 2, END], [4, END]]), torch.randn(2, 3, 6, generator=torch.manual_seed(0))
    found = objective.training_loss(values, targets)
    for row, count in enumerate((3, 2)):
        wanted = cross_entropy(values[row, :count], targets[row, :count], label_smoothing=0.2)
        assert float(found[row]) == pytest.approx(float(wanted), abs=1e-5)
    plain = objective_for(spec()).loss(values, targets)
    assert torch.equal(objective.loss(values, targets), plain), "the loss that is reported is the plain one"


def test_subwords_are_rated_as_the_text_that_they_make_up() -> None:
    names = ("<end>", "<unk>", "▁the", "▁dog", "s", ".", "▁sleep")
    task = TaskSpec(
        "transduction", "tokens", 7, 7, "bleu", "max", target_vocabulary=names, target_unit="subword"
    )
    objective = objective_for(task)
    metrics = objective.metrics()
    said, wanted = padded([[2, 3, 4, 6, 5, END]]), padded([[2, 3, 6, 4, 5, END, 2, 1, END]])
    outcome = objective.outcome(said, wanted)
    assert outcome == (["the dogs sleep."], [["the dog sleeps.", "the�"]])
    metrics.update(*outcome)
    found = {name: float(value) for name, value in metrics.compute().items()}
    assert found["word_error_rate"] == pytest.approx(2 / 3), "the dogs sleep. against the dog sleeps."
    both = [["the dog sleeps."], ["the�"]]
    assert found["chrf"] == pytest.approx(corpus_chrf(["the dogs sleep."], both).score, abs=1e-4)
    columns = objective.columns(said, wanted, outcome)
    assert (columns["prediction"], columns["symbols"].tolist()) == (["the dogs sleep."], [3])


def test_truncated_and_empty_sequences() -> None:
    said, answers = objective_for(spec()).outcome(padded([[1, 2], [END]]), padded([[1, 2, END], [3, END]]))
    assert said == ["w1 w2", ""]
    assert answers == [["w1 w2"], ["w3"]]


def test_a_space_is_a_symbol() -> None:
    task = TaskSpec(
        "transduction", "tokens", 3, 3, "exact_match", "max", target_vocabulary=("<end>", "a", " ")
    )
    said, _ = objective_for(task).outcome(padded([[1, 2, 1, END]]), padded([[1, END]]))
    assert said == ["a ␣ a"]


@pytest.mark.parametrize(
    "attention",
    [
        "none",
        "additive",
        pytest.param("dot", marks=pytest.mark.slow),
        pytest.param("scaled_dot", marks=pytest.mark.slow),
        pytest.param("general", marks=pytest.mark.slow),
    ],
)
def test_a_run_with_every_attention(config: Compose, attention: str) -> None:
    result = run(config(*DATES, f"attention={attention}", "model.bidirectional=true"))
    assert {"test/exact_match", "test/character_error_rate", "test/loss"} <= result.summary.keys()
    lines = (result.directory / "readings.jsonl").read_text().splitlines()
    last = {row["name"]: row for row in map(json.loads, lines)}
    assert {"gates/layer0_backward/update/mean", "gradient_norm/decoder"} <= last.keys()
    assert last["gradient_flow/self_test"]["value"] < 1e-4
    if attention == "none":
        assert not any(name.startswith(("attention", "alignment")) for name in last)
    else:
        assert 0 < last["attention/entropy"]["value"] <= 1
        assert 0 <= last["alignment/accuracy"]["value"] <= 1


@pytest.mark.parametrize(
    "cell",
    ["lstm", pytest.param("rnn", marks=pytest.mark.slow), pytest.param("mingru", marks=pytest.mark.slow)],
)
def test_a_run_with_other_cells_a_beam_and_input_feeding(config: Compose, cell: str) -> None:
    options = ("decoder=input_feeding", "decoder.beam=3", "decoder.layers=2", "decoder.tied=true")
    schedule = ("decoder.teacher_forcing=0.5", "decoder.schedule_steps=2", "decoder.max_length=12")
    result = run(config(*DATES, f"model={cell}", "attention=dot", *options, *schedule))
    assert result.module.model.updates == 2  # type: ignore[union-attr]  those before the last
    assert result.summary["test/character_error_rate"] > 0


def test_a_decoder_can_have_its_own_cell(config: Compose) -> None:
    own = "decoder.cell={_target_: gatescope.cells.rnn.RNN, _partial_: true}"
    model = run(config(*DATES, own)).module.model  # type: ignore[union-attr]
    assert type(model.decoder.layers[0]).__name__ == "RNN"
    assert type(model.stack.layers["layer0"]).__name__ == "GRU"


def test_the_decoder_is_part_of_the_identity(config: Compose, tmp_path: Path) -> None:
    names = [config(*DATES, beam) for beam in ("decoder.beam=1", "decoder.beam=2")]

    assert run_id(names[0]) != run_id(names[1])
    assert config("data=dates").decoder
    assert not config("data=adding").decoder


@pytest.mark.slow
def test_the_same_clips_can_be_transduced_or_classified(config: Compose) -> None:
    clips = ("data=moving_digits", "data.train=64", "data.validation=16", "data.test=16", *FAST)
    assert "test/bleu" in run(config(*clips, "attention=dot")).summary
    assert "test/accuracy" in run(config(*clips, "data.target=action", "attention=dot")).summary


@pytest.mark.parametrize(
    "wrong", ["decoder.beam=0", "decoder.teacher_forcing=1.5", "decoder.input_feeding=1", "+decoder.depth=2"]
)
def test_the_message_names_an_invalid_decoder_key(config: Compose, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong.split("=")[0].lstrip("+")):
        check(config("data=dates", wrong))


def test_sequences_as_targets_need_a_decoder(config: Compose) -> None:
    with pytest.raises(ConfigError, match="decoder: given none, and these data need one"):
        run(config(*DATES, "decoder=none"))
