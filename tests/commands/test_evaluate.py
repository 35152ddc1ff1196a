"""Scores of a run on another file, against scikit-learn, the textbook and direct resampling."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support, r2_score
from trained_runs import trained_run

import gatescope
from gatescope import evaluation
from gatescope.commands.evaluate import main

FAST = ("data=text_file", "data.text=review", "data.label=stars", "model.hidden_size=6", "data.min_freq=1")
WORDS = {"bad": ["dull", "awful"], "fair": ["usual", "common"], "good": ["great", "lovely"]}


def reviews(seed: int, count: int) -> pd.DataFrame:
    """Return texts of three classes; a fifth of the labels is drawn at random."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(list(WORDS), count, p=[0.5, 0.3, 0.2])
    texts = [f"a {rng.choice(WORDS[label])} {rng.choice(['film', 'song', 'book'])}" for label in labels]
    noisy = np.where(rng.random(count) < 0.2, rng.choice(list(WORDS), count), labels)
    return pd.DataFrame({"review": texts, "stars": noisy})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reviews")
    reviews(0, 200).to_csv(folder / "train.csv", index=False)
    path = f"data.path={folder / 'train.csv'}"
    return trained_run(folder / "runs", *FAST, path, "trainer.max_epochs=6", "optimizer.lr=0.05")


def test_a_test_file_of_its_own_is_what_a_run_is_tested_on(tmp_path: Path) -> None:
    """`data.test_path` is for the test alone: train and validation are the other file."""
    train, test, out = (tmp_path / name for name in ("train.csv", "test.csv", "scores.json"))
    reviews(0, 80).to_csv(train, index=False)
    reviews(1, 30).replace("film", "unseen", regex=True).to_csv(test, index=False)
    run = trained_run(tmp_path / "runs", *FAST, f"data.path={train}", f"data.test_path={test}")
    record = json.loads((run / "run.json").read_text())
    sizes = [record["data"][split]["examples"] for split in ("train", "validation", "test")]
    assert (sizes[0] + sizes[1], sizes[2]) == (80, 30)
    assert "unseen" not in gatescope.load(run).task.vocabulary
    assert main([f"run={run}", f"file={test}", f"out={out}"]) == 0
    scores = json.loads(out.read_text())["metrics"]
    for name in ("accuracy", "loss"):
        assert scores[name]["value"] == pytest.approx(record["summary"][f"test/{name}"], abs=1e-5)


def test_a_file_with_labels(run: Path, tmp_path: Path) -> None:
    other = reviews(1, 150)
    other.loc[7, "review"] = ""
    file, out = tmp_path / "other.csv", tmp_path / "deep" / "scores.json"
    other.rename(columns={"stars": "verdict"}).to_csv(file, index=False)
    words = ["evaluate", f"run={run}", f"file={file}", "label=verdict", f"out={out}"]
    done = subprocess.run([sys.executable, "-m", "gatescope", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = gatescope.load(run).predict(other.review)
    predicted, labels = [answer.label for answer in answers], ["bad", "fair", "good"]
    scores = json.loads(out.read_text())
    assert scores["examples"] == 150
    assert scores["warnings"] == {"no token": 1}
    accuracy = np.mean(other.stars == predicted)
    assert scores["metrics"]["accuracy"]["value"] == pytest.approx(accuracy)
    expected = f1_score(other.stars, predicted, average="macro", zero_division=0.0)
    assert scores["metrics"]["macro_f1"]["value"] == pytest.approx(expected)
    loss = np.mean([-np.log(a.probabilities[t]) for a, t in zip(answers, other.stars, strict=True)])
    assert scores["metrics"]["loss"]["value"] == pytest.approx(loss)
    counts = confusion_matrix(other.stars, predicted, labels=labels)
    assert scores["confusion"] == {"classes": labels, "counts": counts.tolist()}
    by_class = precision_recall_fscore_support(other.stars, predicted, labels=labels, zero_division=0.0)
    for i, label in enumerate(labels):
        one = scores["classes"][label]
        assert one["recall"]["value"] == pytest.approx(by_class[1][i])
        assert one["f1"]["value"] == pytest.approx(by_class[2][i])
        assert one["recall"]["n"] == by_class[3][i]
        assert one["recall"]["low"] < one["recall"]["value"] <= one["recall"]["high"]
    assert "Confusion matrix" in done.stdout
    assert "1 of 150 texts: no token" in done.stdout
    assert f"{accuracy:.2f} [" in done.stdout
    assert done.stdout.rstrip().endswith(str(out))


def test_wilson_s_interval_is_that_of_the_textbook() -> None:
    # Newcombe 1998, table I: 81 of 263, and 0 of 20.
    for (successes, n), bounds in {(81, 263): (0.2553, 0.3662), (0, 20): (0.0, 0.1611)}.items():
        found = evaluation.proportion_interval(successes, n)
        assert (found.low, found.high) == pytest.approx(bounds, abs=5e-5)
    assert np.isnan(evaluation.proportion_interval(0, 0).mean)


@pytest.mark.slow
def test_the_interval_of_f1_is_that_of_resampled_examples() -> None:
    rng = np.random.default_rng(3)
    target = rng.integers(0, 3, 200)
    predicted = np.where(rng.random(200) < 0.7, target, rng.integers(0, 3, 200))
    rows = rng.integers(200, size=(1000, 200))
    drawn = [f1_score(target[one], predicted[one], average="macro") for one in rows]
    _, found = evaluation.f1_intervals(confusion_matrix(target, predicted))
    assert found.mean == pytest.approx(f1_score(target, predicted, average="macro"))
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.012)


def test_a_class_that_does_not_occur() -> None:
    classes, mean = evaluation.f1_intervals(np.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]]))
    assert np.isnan(classes[2].mean)
    target, predicted = [0] * 10 + [1] * 10, [0] * 8 + [1] * 2 + [0] + [1] * 9
    assert mean.mean == pytest.approx(f1_score(target, predicted, average="macro"))


def test_a_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = reviews(0, 120)
    data["stars"] = data.review.str.len() + np.arange(120) % 3
    file, out = tmp_path / "prices.csv", tmp_path / "scores.json"
    data.to_csv(file, index=False)
    run = trained_run(tmp_path / "runs", *FAST, f"data.path={file}", "data.kind=regression")
    assert main([f"run={run}", f"file={file}", f"out={out}"]) == 0
    assert "120 examples" in capsys.readouterr().out
    predicted = [answer.value for answer in gatescope.load(run).predict(data.review)]
    metrics = json.loads(out.read_text())["metrics"]
    assert metrics["mse"]["value"] == pytest.approx(np.mean((data.stars - predicted) ** 2))
    assert metrics["mae"]["value"] == pytest.approx(np.mean(np.abs(data.stars - predicted)))
    assert metrics["r2"]["value"] == pytest.approx(r2_score(data.stars, predicted))
    for one in metrics.values():
        assert one["low"] < one["value"] < one["high"]


def test_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"{a}{b}" for a in "abcdef" for b in "abcdef"]
    file = tmp_path / "pairs.tsv"
    pd.DataFrame({"source": words, "target": [w[::-1] for w in words]}).to_csv(file, sep="\t", index=False)
    options = ("data=pairs_file", f"data.path={file}", "data.unit=character", "attention=dot")
    run = trained_run(tmp_path / "runs", *options, "model.hidden_size=4")
    assert main([f"run={run}", f"file={file}"]) == 0
    said = capsys.readouterr().out
    answers = gatescope.load(run).predict(words)
    exact = np.mean(["".join(a.symbols) == w[::-1] for a, w in zip(answers, words, strict=True)])
    shown = re.search(r"exact_match +(\S+) \[", said)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(exact, abs=5e-4)
    assert "character_error_rate" in said


@pytest.mark.parametrize(
    ("unit", "metrics"),
    [
        ("character", ("exact_match", "character_error_rate", "word_error_rate")),
        ("word", ("exact_match", "word_error_rate", "bleu", "chrf")),
    ],
)
def test_pairs_with_one_source_are_one_example_as_in_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unit: str, metrics: tuple[str, ...]
) -> None:
    """Of characters some are spaces; a source has two accepted targets."""
    sources = [f"{a}{b}" for a in "abcdef" for b in "abcdef"]
    rows = [(s, " ".join(s + s)) for s in sources] + [(s, f"{s[1]} {s}") for s in sources[::2]] * 2
    for name in ("train.tsv", "test.tsv"):
        pd.DataFrame(rows, columns=["source", "target"]).to_csv(tmp_path / name, sep="\t", index=False)
    paths = {"path": "train.tsv", "validation_path": "test.tsv", "test_path": "test.tsv"}
    files = [f"data.{key}={tmp_path / name}" for key, name in paths.items()]  # all symbols are known
    sizes = ("model.hidden_size=16", "optimizer.lr=0.03", "trainer.max_epochs=3")
    run = trained_run(tmp_path / "runs", "data=pairs_file", *files, f"data.unit={unit}", *sizes)
    assert main([f"run={run}", f"file={tmp_path / 'test.tsv'}", f"out={tmp_path / 'scores.json'}"]) == 0
    assert f"{len(sources)} examples" in capsys.readouterr().out
    scores = json.loads((tmp_path / "scores.json").read_text())["metrics"]
    recorded = json.loads((run / "run.json").read_text())["summary"]
    assert {f"test/{name}" for name in metrics} == {
        k for k in recorded if k[:5] == "test/" and k != "test/loss"
    }
    for name in metrics:
        assert scores[name]["value"] == pytest.approx(recorded[f"test/{name}"], abs=1e-4)
    assert recorded[f"test/{unit}_error_rate"] < 1
    assert unit == "character" or recorded["test/bleu"] > 0


@pytest.mark.parametrize(
    ("rows", "arguments", "code", "said"),
    [
        (
            "a great film,great\n",
            [],
            1,
            "row 1 (line 2), column stars: 'great' is no class of the run, which",
        ),
        ("a great film,good\na dull song,\n", [], 1, "row 2 (line 3), column stars: missing"),
        ("a great film,good\n", ["label=verdict"], 1, "no column 'verdict'"),
        ("", [], 1, "a header without rows"),
    ],
)
def test_bad_input_is_one_line(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rows: str,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    file = tmp_path / "other.csv"
    file.write_text(f"review,stars\n{rows}")
    assert main([f"run={run}", f"file={file}", *arguments]) == code
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


@pytest.mark.slow
def test_the_script_is_the_command() -> None:
    words = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), "--help"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert "gatescope evaluate" in done.stdout
