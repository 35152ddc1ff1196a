"""Pairs of the user's files: training and accepted targets, and one clear message per problem."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import FAST, Compose
from sacrebleu import corpus_bleu, corpus_chrf
from torchmetrics.text import BLEUScore

from gatescope.commands.evaluate import main as evaluate
from gatescope.commands.explain import main as explain
from gatescope.commands.predict import main as predict
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


def test_subwords_in_lower_case_shared_by_both_sides(tmp_path: Path) -> None:
    rows = [(f"Die {a} {b} Häuser.", f"THE {b} {a} houses.") for a in WORDS for b in WORDS]
    path = written(tmp_path / "a.tsv", rows)
    data = loaded(path, tokenizer="subwords", lower=True, shared=True, max_tokens=60)
    assert (data.task.target_unit, data.task.metric) == ("subword", "bleu")
    assert "".join(data.tokenize("Die HÄUSER")) == "▁die▁häuser"
    objective = objective_for(data.task)
    targets = data.batch("test", range(len(data.splits.test))).targets
    said, accepted = objective.outcome(targets, targets)
    assert said == [one for (one,) in accepted], "each symbol of these texts is known"
    assert set(said) <= {target.lower() for _, target in rows}
    # One set of units for both sides: each text of one side could be one of the other.
    own = loaded(path, tokenizer="subwords", max_tokens=60)
    assert data.tokenize("the") == ["▁the"]
    assert own.tokenize("the") != ["▁the"]


@pytest.mark.parametrize("key", ["lower", "shared"])
def test_options_of_subwords_need_subwords(tmp_path: Path, key: str) -> None:
    with pytest.raises(DataError, match=rf"data\.{key}=true needs data\.tokenizer=subwords"):
        loaded(written(tmp_path / "a.tsv", NUMBERS), **{key: True})


def test_a_run_of_subwords_is_scored_explained_and_asked_like_any_other(
    config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(f"Die {a} {b}.", f"The {b} and {a}.") for a in WORDS for b in WORDS]
    path = written(tmp_path / "a.tsv", rows)
    result = run(
        config(
            "data=pairs_file", f"data.path={path}", f"data.test_path={path}", "data.tokenizer=subwords",
            "data.lower=true", "decoder=input_feeding", "attention=dot", "decoder.beam=2", *FAST,
            "loss.label_smoothing=0.1", "trainer.max_epochs=4", "model.hidden_size=24", "optimizer.lr=0.02",
            "data.batch_size=8", "decoder.max_length=12",
        )
    )  # fmt: skip
    table = pd.read_csv(result.directory / "predictions.csv", keep_default_na=False)
    assert set(table.target) == {target.lower() for _, target in rows}
    expected = corpus_bleu(list(table.prediction), [list(table.target)]).score
    assert result.summary["test/bleu"] == pytest.approx(expected, abs=1e-3)
    assert evaluate([f"run={result.directory}", f"file={path}", f"out={tmp_path / 'scores.json'}"]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())["metrics"]
    for name in ("bleu", "chrf", "word_error_rate", "exact_match"):
        assert scores[name]["value"] == pytest.approx(result.summary[f"test/{name}"], abs=1e-3)
    assert predict([f"run={result.directory}", "text=Die one two."]) == 0
    assert "▁" not in capsys.readouterr().out
    assert explain([f"run={result.directory}", "text=Die one two."]) == 0


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
    expected = corpus_chrf(predicted, [wanted]).score
    assert 5 < expected < 100
    plus_plus = corpus_chrf(predicted, [wanted], word_order=2).score
    assert abs(plus_plus - expected) > 0.05, "chrF++ counts words, and is another number"
    assert result.summary["test/chrf"] == pytest.approx(expected, abs=1e-3)
