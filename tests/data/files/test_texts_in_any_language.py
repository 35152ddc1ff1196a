"""From a file of texts in any language to a model: nothing that it cannot read goes unsaid."""

from __future__ import annotations

import csv
import json
import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FAST, Compose

import gatescope
from gatescope.commands.data import main as describe
from gatescope.data.errors import DataError
from gatescope.data.files.pairs_file import PairsFile
from gatescope.data.files.text_file import TextFile
from gatescope.run import RunResult, run

CHINESE = "今天天气这部电影书本饭菜店里服务员很多人都说昨晚我们去看了它故事演员音乐画面"
JAPANESE = "きょうのえいがはとてもながくてはなしもわかりにくいとおもいましたがおんがくは"
THAI = "วันนี้เราไปดูหนังเรื่องใหม่ที่โรงภาพยนตร์ใกล้บ้านกับเพื่อนสองคน"


def reviews(path: Path, letters: str, good: str, bad: str, count: int = 600) -> Path:
    """Write texts without spaces, whose label is decided by one character at any place."""
    rng = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for i in range(count):
            text = rng.choices(letters, k=rng.randint(8, 20))
            text.insert(rng.randint(0, len(text)), (good, bad)[i % 2])
            table.writerow(["".join(text), "gb"[i % 2]])
    return path


def written(path: Path, texts: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *((t, i % 2) for i, t in enumerate(texts))])
    return path


def loaded(path: Path, **options: Any) -> TextFile:
    data = TextFile(str(path), **options)
    data.setup()
    return data


def trained(config: Compose, path: Path, *overrides: str) -> RunResult:
    fast = (*FAST, "model.hidden_size=16", "trainer.max_epochs=8", "instruments=off", "optimizer.lr=0.01")
    own = ("data=text_file", f"data.path={path}", "data.batch_size=32", "data.test=0.2", "attention=additive")
    return run(config(*own, *fast, *overrides))


def notes(result: RunResult) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((result.directory / "run.json").read_text())["task"]["notes"]
    return content


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the messages of warnings; whether others are captured depends on earlier tests."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("letters", "good", "bad", "script"),
    [
        (CHINESE, "好", "差", "Han"),
        pytest.param(JAPANESE, "良", "悪", "Hiragana", marks=pytest.mark.slow),
        pytest.param(THAI, "ฮ", "ฬ", "Thai", marks=pytest.mark.slow),
    ],
    ids=["Chinese", "Japanese", "Thai"],
)
def test_a_label_decided_by_one_character(
    config: Compose, tmp_path: Path, letters: str, good: str, bad: str, script: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    path = reviews(tmp_path / "reviews.csv", letters, good, bad)
    with caplog.at_level(logging.INFO):
        result = trained(config, path)
    assert result.summary["test/accuracy"] >= 0.95
    assert f"tokenizer: characters, by data.tokenizer=auto: the texts of train are in {script} script" in (
        caplog.text
    )
    assert notes(result)["tokenizer"] == "characters"
    model = gatescope.load(result.directory)
    start = letters[:8]
    assert [a.label for a in model.predict([f"{start}{good}", f"{bad}{start}"])] == ["g", "b"]


@pytest.mark.parametrize(
    "name",
    [
        "characters",
        pytest.param("words", marks=pytest.mark.slow),
        pytest.param("chinese", marks=pytest.mark.slow),
        pytest.param("subwords", marks=pytest.mark.slow),
        pytest.param("split", marks=pytest.mark.slow),
        pytest.param("basic_english", marks=pytest.mark.slow),
    ],
)
def test_a_run_without_its_file_has_the_same_tokens(config: Compose, tmp_path: Path, name: str) -> None:
    package = {"chinese": "jieba", "subwords": "tokenizers"}.get(name)
    if package:
        pytest.importorskip(package)
    rng = random.Random(1)
    texts = [" ".join(rng.choices(["Gut,", "schlecht!", "电影", "好看", "naïve"], k=6)) for _ in range(80)]
    result = trained(
        config, written(tmp_path / "a.csv", texts), f"data.tokenizer={name}", "trainer.max_epochs=1"
    )
    text = "Sehr Gut, die 电影! e\u0301 👍🏽"
    tokens = result.data.tokenize(text)
    (tmp_path / "a.csv").unlink()
    model = gatescope.load(result.directory)
    assert model.tokenize(text) == tokens
    assert (
        model.encode([text]).inputs[0].tolist()
        == [model.task.token_ids().get(t, 1) for t in tokens][: model.longest]
    )
    assert notes(result)["tokenizer"] == model.task.tokenizer["name"] == name


def test_sentences_as_tokens_are_refused(tmp_path: Path) -> None:
    path = reviews(tmp_path / "a.csv", CHINESE, "好", "差", 100)
    expected = (
        r"a\.csv, column text: every token of train is <unk>.*; use data\.tokenizer=characters or subwords, "
        r"or lower data\.min_freq=2"
    )
    with pytest.raises(DataError, match=expected):
        loaded(path, tokenizer="basic_english")


def test_most_tokens_unknown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path / "a.csv", [f"the w{i} x{i} y{i}" for i in range(100)])
    data = loaded(path)
    assert data.task.notes["train_unknown_share"] == 0.75
    remark = (
        "most tokens are <unk>, too rare or not in train: 75.0 % of train, 75.0 % of validation, 75.0 % of "
        "test; use data.tokenizer=characters or subwords, or lower data.min_freq=2"
    )
    assert data.task.notes["remarks"] == warned(caplog) == [remark]


def test_most_tokens_of_test_unknown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = written(tmp_path / "a.csv", ["one two", "three four"] * 20)
    test = written(tmp_path / "b.csv", ["one x", "z z"])
    data = loaded(train, test_path=str(test), min_freq=1)
    remark = (
        "most tokens are <unk>, too rare or not in train: 75.0 % of test; use data.tokenizer=characters or "
        "subwords"
    )
    assert data.task.notes["remarks"] == warned(caplog) == [remark]


def test_empty_texts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    empty = written(tmp_path / "empty.csv", [""] * 40)
    with pytest.raises(
        DataError, match=r"column text: all texts of train are empty; give the column of texts"
    ):
        loaded(empty)
    train = written(tmp_path / "a.csv", ["one two", "three four"] * 20)
    data = loaded(train, test_path=str(empty))
    remark = "test: 40 of 40 texts hold no token; check column text, or drop these rows"
    assert data.task.notes["remarks"] == warned(caplog) == [remark]


def lengths(tmp_path: Path, counts: list[int]) -> Path:
    return written(tmp_path / "long.csv", ["word " * count for count in counts])


def test_cut_texts_and_their_true_lengths(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lengths(tmp_path, [500] * 20 + [50] * 20)
    test = lengths(tmp_path, [50, 50]).rename(tmp_path / "test.csv")
    path = lengths(tmp_path, [500] * 20 + [50] * 20)
    options = ["data.max_length=200", f"data.test_path={test}", f"data.validation_path={test}"]
    assert describe(["data=text_file", f"data.path={path}", *options, f"out={tmp_path}"]) == 0
    told = capsys.readouterr().out
    assert "     train        40     50     50    125    200    200\n" in told
    assert "      before cutting     50     50    275    500    500\n" in told
    assert told.count("before cutting") == 1
    # By hand: half of the texts lose 300 of 500 tokens, 6,000 of 11,000.
    remark = (
        "data.max_length=200 cuts texts: 50.0 % of train, 0.0 % of validation, 0.0 % of test; train loses "
        "54.5 % of its tokens; give a larger number, auto, or null for whole texts"
    )
    assert warned(caplog) == [remark]
    assert f"remark: {remark}\n" in told


@pytest.mark.parametrize(("longest", "limit"), [(30, 30), (5000, 1000)])
def test_max_length_by_a_quantile(tmp_path: Path, longest: int, limit: int) -> None:
    rng = np.random.default_rng(0)
    counts = [*rng.integers(5, 20, 960).tolist(), *[longest] * 40]
    path = lengths(tmp_path, rng.permutation(counts).tolist())
    data = loaded(path)
    assert data.splits is not None
    assert data.task.notes["max_length"] == limit == data.splits.train.lengths.max()
    rare = loaded(lengths(tmp_path, [10] * 1995 + [400] * 5), seed=1)
    assert rare.task.notes["max_length"] == 10
    (remark,) = rare.task.notes["remarks"]
    assert remark.startswith("data.max_length=10, by auto, cuts texts: 0.")


def test_a_number_and_null_are_as_before(tmp_path: Path) -> None:
    path = lengths(tmp_path, [7, 3] * 30)
    for limit, expected in ((5, 5), (None, 7)):
        data = loaded(path, max_length=limit)
        assert data.splits is not None
        assert data.splits.train.lengths.max() == expected
        assert bool(data.task.notes["remarks"]) == (limit == 5)


def test_subwords_know_what_words_do_not(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    rng = random.Random(0)
    stems, ends = ["walk", "talk", "jump", "play", "work"], ["ing", "ed", "er", "s", "able", "ers"]
    train = [f"{rng.choice(stems)}{rng.choice(ends)} {rng.choice(stems)}" for _ in range(200)]
    test = written(tmp_path / "test.csv", ["walkers jumpable", "playable workers talking"] * 2)
    path = written(tmp_path / "a.csv", [t for t in train if "workers" not in t and "jumpable" not in t])
    shares = [
        loaded(path, test_path=str(test), tokenizer=name).task.notes["test_unknown_share"]
        for name in ("words", "subwords")
    ]
    assert shares[0] > 0
    assert shares[1] == 0


def test_each_side_of_pairs_has_its_tokenizer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [(f"number {a} and {b}", f"数字{a}和{b}都好") for a in range(6) for b in range(6)]
    path = tmp_path / "a.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in [("source", "target"), *rows]), encoding="utf-8")
    data = PairsFile(str(path))
    with caplog.at_level(logging.INFO):
        data.setup()
    assert data.tokenize("Number 3 and 4") == ["number", "3", "and", "4"]
    assert set("数字和都好012345") <= set(data.task.target_vocabulary)
    assert (data.task.target_unit, data.task.metric) == ("character", "character_error_rate")
    assert (data.task.notes["tokenizer"], data.task.notes["target_tokenizer"]) == (
        "basic_english",
        "characters",
    )
    assert [line.split(",")[0] for line in caplog.messages] == [
        "tokenizer of the sources: basic_english",
        "tokenizer of the targets: characters",
    ]


def test_pairs_of_whole_sentences_are_remarked_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [(f"数字{a}和{b}都好", f"number {a} and {b}") for a in range(6) for b in range(6)]
    path = tmp_path / "a.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in [("source", "target"), *rows]), encoding="utf-8")
    data = PairsFile(str(path), tokenizer="basic_english")
    data.setup()
    (remark,) = data.task.notes["remarks"]
    assert warned(caplog) == [remark]
    assert "100.0 % of validation, 100.0 % of test; use data.tokenizer=characters or subwords" in remark
