"""From a file of texts to a run, and from the run to answers: `gatescope predict` in its own process."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from trained_runs import answer_without_heavy_imports, trained_run

import gatescope
from gatescope.commands.evaluate import main as evaluate
from gatescope.commands.predict import main

WORDS = {"high": ["great", "lovely", "fine"], "low": ["dull", "awful", "poor"]}
FAST = ("data=text_file", "data.text=review", "data.label=stars", "model.hidden_size=8", "optimizer.lr=0.05")


def write_reviews(path: Path, header: tuple[str, ...] = ("review", "stars")) -> Path:
    """Write 120 separable texts of two classes."""
    rows = [
        (f"a {WORDS[label][n % 3]} film, {WORDS[label][n % 2]} {'song' if n % 5 else 'book'}", label)
        for n in range(60)
        for label in WORDS
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the directory of a run whose training file is gone."""
    folder = tmp_path_factory.mktemp("reviews")
    path = write_reviews(folder / "reviews.csv")
    directory = trained_run(folder / "runs", *FAST, f"data.path={path}", "trainer.max_epochs=6")
    path.unlink()
    return directory


def command(*arguments: str, stdin: str | None = None, cwd: Path | None = None) -> str:
    """Return the output of `gatescope predict`."""
    words = [sys.executable, "-m", "gatescope", "predict", *arguments]
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_file_of_texts(run: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.csv"
    texts = ["a great film", "", "an awful, dull song", "qqzzx xxqqz", 'a "fine"\nbook']
    pd.DataFrame({"id": range(5), "review": texts, "note": "kept"}).to_csv(new, index=False)
    out = tmp_path / "deep" / "answers.csv"
    assert command(f"run={run}", f"file={new}", f"out={out}").strip() == f"{out}: 5 answers"
    answers = pd.read_csv(out, keep_default_na=False)
    assert list(answers) == ["id", "review", "note", "prediction", "p(high)", "p(low)", "warning"]
    assert answers.review.tolist() == texts
    assert answers.warning.tolist() == ["", "no token", "", "only unknown tokens", ""]
    assert answers.prediction[[0, 2]].tolist() == ["high", "low"]
    for row, answer in zip(answers.itertuples(), gatescope.load(run).predict(texts), strict=True):
        assert answer.label == row.prediction
        assert answers["p(low)"][row.Index] == pytest.approx(answer.probabilities["low"], rel=1e-5)
    assert not [path for path in out.parent.iterdir() if path != out]


def test_standard_input_and_one_text(run: Path) -> None:
    lines = command(f"run={run}", stdin="a great film\nawful and poor\n")
    answers = list(csv.DictReader(lines.splitlines()))
    assert len(lines.splitlines()) == 3
    assert [row["review"] for row in answers] == ["a great film", "awful and poor"]
    assert [row["prediction"] for row in answers] == ["high", "low"]
    first, *rest = command(f"run={run}", "text=a lovely, lovely song").splitlines()
    assert first == "high"
    assert [line.split()[-1] for line in rest] == ["high", "low"]


def test_json_lines_with_values_that_are_no_texts(run: Path, tmp_path: Path) -> None:
    new, out = tmp_path / "new.jsonl", tmp_path / "answers.jsonl"
    values = ["a fine book", None, 3, {"deep": 1}]
    new.write_text("".join(json.dumps({"comment": value, "n": i}) + "\n" for i, value in enumerate(values)))
    assert main([f"run={run}", f"file={new}", f"out={out}", "column=comment"]) == 0
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert [answer["comment"] for answer in answers] == values
    assert [answer["warning"] for answer in answers] == ["", *["no text"] * 3]
    assert answers[0]["p(high)"] + answers[0]["p(low)"] == pytest.approx(1, abs=1e-5)


def test_a_file_without_a_header(run: Path, tmp_path: Path) -> None:
    new, out = tmp_path / "new.tsv", tmp_path / "answers.tsv"
    new.write_text("1\ta great film\n2\tan awful song\n")
    assert main([f"run={run}", f"file={new}", f"out={out}", "header=false", "column=2"]) == 0
    answers = pd.read_csv(out, sep="\t")
    assert answers["1"].tolist() == [1, 2]
    assert answers.prediction.tolist() == ["high", "low"]


def test_a_bad_row_is_named_and_nothing_is_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, out = tmp_path / "new.csv", tmp_path / "answers.csv"
    new.write_text("review,n\na great film,1\nan awful song\na fine book,3\n")
    assert main([f"run={run}", f"file={new}", f"out={out}"]) == 1
    error = capsys.readouterr().err
    assert error == f"predict: {new}: row 2 (line 3): expected 2 fields, found 1\n"
    assert list(tmp_path.iterdir()) == [new]


@pytest.mark.parametrize(
    ("content", "arguments", "code", "said"),
    [
        ("comment\nfine\n", [], 1, "no column 'review'; it has comment: choose by column=NAME"),
        ("", [], 1, "the file is empty"),
        (
            "review,warning\nfine,x\n",
            [],
            2,
            "there is a column 'warning' already: name the new ones by prefix=",
        ),
        ("review\nfine\n", ["text=fine"], 2, "give file=… or text=…, not both"),
        ("review\nfine\n", ["device=abacus"], 1, "device=abacus cannot be used"),
        ("review\nfine\n", ["out=answers.xlsx"], 1, "its name must end in one of .csv, .tsv, .jsonl"),
        ("review\nfine\n", ["colum=review"], 2, "did you mean column?"),
    ],
)
def test_bad_input_is_one_line(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    new = tmp_path / "new.csv"
    new.write_text(content)
    assert main([f"run={run}", f"file={new}", *arguments]) == code
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


@pytest.mark.slow
def test_a_regression_and_a_transduction(tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    with prices.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        table.writerows([[f"{WORDS['high'][n % 3]} film", n % 3] for n in range(60)])
    run = trained_run(
        tmp_path / "runs",
        "data=text_file",
        f"data.path={prices}",
        "data.kind=regression",
        "data.target_scale=standard",
    )
    out = tmp_path / "out.csv"
    assert main([f"run={run}", f"file={prices}", f"out={out}"]) == 0
    answers = pd.read_csv(out)
    assert list(answers) == ["text", "label", "prediction", "warning"]
    (expected,) = gatescope.load(run).predict(answers.text[0])
    assert answers.prediction[0] == pytest.approx(expected.value)
    sizes = ("data=dates", "data.train=64", "data.validation=16", "data.test=16", "model.hidden_size=6")
    run = trained_run(tmp_path / "runs", *sizes, "attention=dot", "trainer.max_epochs=1")
    lines = command(f"run={run}", stdin="3 May 1999\n").splitlines()
    assert lines[0] == "text,prediction,warning"
    assert set(lines[1].split(",")[1]) <= set("0123456789-")


@pytest.mark.parametrize(
    "tokenizer",
    [
        "auto",
        pytest.param("characters", marks=pytest.mark.slow),
        pytest.param("subwords", marks=pytest.mark.slow),
    ],
)
def test_chinese_without_spaces(tmp_path: Path, tokenizer: str) -> None:
    if tokenizer == "subwords":
        pytest.importorskip("tokenizers", reason="the extra subwords is not installed")
    path = tmp_path / "评论.csv"
    halves = {"好": ["很好看", "非常精彩", "真喜欢"], "坏": ["很难看", "非常无聊", "真失望"]}
    rows = [
        (f"这部{what}{halves[y][n % 3]}", y)
        for n, what in enumerate(["电影", "书", "歌"] * 20)
        for y in halves
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("评论", "类"), *rows])
    columns = ("data.text='评论'", "data.label='类'", f"data.tokenizer={tokenizer}", "data.name=reviews")
    options = ("data=text_file", f"data.path='{path}'", *columns, "model.hidden_size=8", "optimizer.lr=0.05")
    run = trained_run(tmp_path / "runs", *options, "trainer.max_epochs=8")
    out = tmp_path / "回答.csv"
    command(f"run={run}", f"file={path}", f"out={out}")
    answers = pd.read_csv(out)
    assert (answers.prediction == answers["类"]).mean() > 0.95


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_series(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    x = 1e4 + 100 * (rng.normal(size=(80, 8)) + 3 * y[:, None])
    lengths = rng.integers(4, 9, 80)
    new, out, scores = tmp_path / "series.npz", tmp_path / "answers.csv", tmp_path / "scores.json"
    np.savez(new, x=x, y=y, lengths=lengths)
    options = ("data=series_file", f"data.path={new}", f"data.kind={kind}", "optimizer.lr=0.05")
    run = trained_run(tmp_path / "runs", *options, "trainer.max_epochs=5", "model.hidden_size=6")
    new.rename(tmp_path / "moved.npz")
    new = tmp_path / "moved.npz"
    assert main([f"run={run}", f"file={new}", f"out={out}"]) == 0
    answers = pd.read_csv(out)
    assert answers["index"].tolist() == list(range(80))
    found = (answers.prediction if kind == "classification" else answers.prediction > 0.5) == y
    assert found.mean() > 0.9
    assert evaluate([f"run={run}", f"file={new}", f"out={scores}"]) == 0
    metrics = json.loads(scores.read_text())["metrics"]
    if kind == "classification":
        assert metrics["accuracy"]["value"] == pytest.approx(found.mean())
    else:
        assert metrics["mse"]["value"] == pytest.approx(((answers.prediction - y) ** 2).mean())
    lengths[3] = 9
    np.savez(new, series=x, lengths=lengths)
    capsys.readouterr()
    assert main([f"run={run}", f"file={new}"]) == 1
    assert capsys.readouterr().err.endswith("no array 'x'; it has series, lengths: choose by column=NAME\n")
    assert main([f"run={run}", f"file={new}", "column=series", f"out={out}"]) == 1
    assert capsys.readouterr().err == f"predict: {new}: lengths[3]: 9 is not from 1 to 8\n"


def test_a_model_of_series_reads_no_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained_run(tmp_path, "data=adding", "data.steps=4", "data.train=16", "data.test=8")
    assert main([f"run={run}", "text=hello"]) == 2
    assert "reads series and not texts" in capsys.readouterr().err


@pytest.mark.slow
def test_a_prediction_imports_no_more_than_it_needs(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / run.name
    shutil.copytree(run, copy)
    assert answer_without_heavy_imports(copy, "a great film") == "high"


@pytest.mark.slow
def test_the_script_is_the_command(run: Path) -> None:
    words = [sys.executable, str(ROOT / "scripts" / "predict.py"), f"run={run}", "text=great"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "high"
