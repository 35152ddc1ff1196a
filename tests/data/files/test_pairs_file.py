"""Pairs of the user's files: training and accepted targets, and one clear message per problem."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import FAST, Compose
from torchmetrics.text import BLEUScore, CHRFScore

from gatescope.data.errors import DataError
from gatescope.data.files.pairs_file import PairsFile
from gatescope.run import run
from gatescope.sequences import END
from gatescope.training.objective import objective_for

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NUMBERS = [(f"{a} {b}", f"{i}{j}") for i, a in enumerate(WORDS, 1) for j, b in enumerate(WORDS, 1)]


def written(path: Path, rows: list[tuple[str, ...]], header: bool = True) -> str:
    lines = [("source", "target")] * header + rows
    path.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def loaded(path: str, **options: object) -> PairsFile:
    data = PairsFile(path, **options)  # type: ignore[arg-type]
    data.setup()
    return data


def pairs(data: PairsFile, split: str) -> dict[str, list[str]]:
    """The sources of a split with their targets, in symbols."""
    examples, found = getattr(data.splits, split), {}
    for i in range(len(examples)):
        source = " ".join(data.task.vocabulary[k] for k in examples.inputs[i])
        text = " ".join("|" if k == END else data.task.target_vocabulary[k] for k in examples.targets[i])
        found.setdefault(source, []).extend(answer.strip() for answer in text.split("|")[:-1])
    return found


def test_every_pair_is_in_one_split(tmp_path: Path) -> None:
    data = loaded(written(tmp_path / "a.tsv", NUMBERS), tokenizer="split")
    train, validation, test = (pairs(data, split) for split in ("train", "validation", "test"))
    assert train == {source: [target] for source, target in NUMBERS if source in train}
    assert train.keys() | validation.keys() | test.keys() == dict(NUMBERS).keys()
    assert (len(train), len(validation), len(test)) == (69, 4, 8)


def test_a_source_with_several_targets_is_in_one_split_and_each_is_right(tmp_path: Path) -> None:
    rows = [*NUMBERS, *((source, f"{target} or so") for source, target in NUMBERS), NUMBERS[0]]
    data = loaded(written(tmp_path / "a.tsv", rows), tokenizer="split")
    train, validation, test = (pairs(data, split) for split in ("train", "validation", "test"))
    assert len(train) + len(validation) + len(test) == len(NUMBERS)
    assert len(data.splits.train) == 2 * len(train)
    assert len(data.splits.test) == len(test)
    unknown = ("<unk>", "<unk> or so")
    for source, targets in test.items():
        assert targets in ([dict(NUMBERS)[source], f"{dict(NUMBERS)[source]} or so"], list(unknown))


def test_an_unknown_target_word_is_never_right(tmp_path: Path) -> None:
    data = loaded(written(tmp_path / "a.tsv", NUMBERS), tokenizer="split")
    objective = objective_for(data.task)
    batch = data.batch("test", range(8))  # each target is a word that train lacks
    predicted, accepted = objective.outcome(batch.targets, batch.targets)
    assert (predicted, accepted) == (["?"] * 8, [["<unk>"]] * 8)


@pytest.mark.parametrize(("words", "metric"), [(3, "word_error_rate"), (4, "bleu")])
def test_targets_too_short_for_bleu_are_compared_on_their_error_rate(
    tmp_path: Path, words: int, metric: str
) -> None:
    path = written(tmp_path / "a.tsv", [(source, " ".join([target] * words)) for source, target in NUMBERS])
    assert loaded(path).task.metric == metric
    assert (float(BLEUScore()(["a b c d"[: 2 * words]], [["a b c d"[: 2 * words]]])) > 0) == (
        metric == "bleu"
    )


def test_characters_and_separate_files(tmp_path: Path) -> None:
    train = written(tmp_path / "a.tsv", NUMBERS[:60], header=False)
    test = written(tmp_path / "b.tsv", NUMBERS[55:], header=False)
    data = loaded(train, unit="character", source="2", target="1", header=False, test_path=test)
    assert data.task.vocabulary[:2] == ("<pad>", "<unk>")
    assert set(data.task.vocabulary[2:]) == set("123456789")
    assert (data.task.metric, data.task.direction) == ("character_error_rate", "min")
    assert len(data.splits.test) == 26
    # Five rows are in both files, less those that validation took.
    assert 2 <= data.task.notes["test_sources_in_train"] <= 5
    assert data.tokenize("42") == ["4", "2"]


WRONG = {
    "an unpaired line": (["one\t1", "two", "three\t3"], r"row 2 \(line 3\): expected 2 fields, found 1"),
    "no target": (
        ["one\t1", "two\t"],
        r"row 2 \(line 3\), column target: missing: each row needs a source and a target",
    ),
    "no symbol": (["one\t1", "two\t  "], r"row 2 \(line 3\), column target: '  ' holds no word"),
    "too few": (["one\t1", "two\t2"], "2 different sources are too few"),
    "no rows": ([], "a header without rows"),
}


@pytest.mark.parametrize(("rows", "message"), WRONG.values(), ids=WRONG)
def test_errors_name_the_row(tmp_path: Path, rows: list[str], message: str) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("\n".join(["source\ttarget", *rows]) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        loaded(str(path))


def test_an_unknown_column_lists_the_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'sauce'.*source, target"):
        loaded(written(tmp_path / "a.tsv", NUMBERS), source="sauce")


def chrf(predicted: list[str], wanted: list[str]) -> float:
    """chrF of a corpus by its definition (Popović 2015): characters without spaces, n from 1 to 6, β = 2."""
    scores = []
    for n in range(1, 7):
        grams = [
            [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in map(squeezed, texts)]
            for texts in (predicted, wanted)
        ]
        totals = [sum(sum(counts.values()) for counts in side) for side in grams]
        matched = sum(sum((a & b).values()) for a, b in zip(*grams, strict=True))
        precision, recall = (matched / total if total else 0.0 for total in totals)
        scores.append(5 * precision * recall / (4 * precision + recall) if matched else 0.0)
    return sum(scores) / 6


def squeezed(text: str) -> str:
    return text.replace(" ", "")


@pytest.mark.slow
def test_a_run_records_chrf(config: Compose, tmp_path: Path) -> None:
    rows = [(f"{a} {b}", f"{b} {a} {b}") for a in WORDS for b in WORDS]
    path = written(tmp_path / "a.tsv", rows)
    cfg = config(
        "data=pairs_file", f"data.path={path}", "attention=additive", *FAST, "trainer.max_epochs=3",
        "data.batch_size=4", "model.hidden_size=24", "optimizer.lr=0.02", "instruments=off",
    )  # fmt: skip
    result = run(cfg)
    assert {"test/bleu", "test/word_error_rate"} <= result.summary.keys()
    assert result.module is not None
    model, objective = result.module.model.eval(), result.module.objective
    predicted, wanted = [], []
    for batch in result.data.test_dataloader():
        with torch.no_grad():
            values = model(batch).values
            texts, accepted = objective.outcome(objective.answer(model, batch, values, "test"), batch.targets)
        predicted += texts
        wanted += [one for (one,) in accepted]
    expected = chrf(predicted, wanted)
    assert 0.05 < expected < 1
    plus_plus = float(CHRFScore()(predicted, [[one] for one in wanted]))
    assert abs(plus_plus - expected) > 5e-4, "chrF++ counts words, and is another number"
    assert result.summary["test/chrf"] == pytest.approx(expected, abs=1e-5)
