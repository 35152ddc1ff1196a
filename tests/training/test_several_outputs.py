"""Regression on several outputs: each on a scale of its own, reported in its own unit."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FAST, Compose

import gatescope
from gatescope.commands.errors import main as show_errors
from gatescope.commands.evaluate import main as evaluate
from gatescope.commands.explain import main as explain
from gatescope.commands.predict import main as predict
from gatescope.data.errors import DataError
from gatescope.data.files.text_file import TextFile
from gatescope.evaluation import scores_of
from gatescope.run import RunResult, run
from gatescope.tracking import predictions

SIZES = {"giant": (220.0, 150_000.0), "adult": (170.0, 70_000.0), "child": (110.0, 20_000.0)}
"""Height in centimetres and weight in grams."""


def people(path: Path, count: int = 240) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        word = str(rng.choice(list(SIZES)))
        height, weight = np.array(SIZES[word]) * rng.normal(1, 0.01, 2)
        rows.append({"text": f"a {word} here", "height": height, "weight": weight})
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def trained(config: Compose, path: Path, *options: str) -> RunResult:
    words = ("data=text_file", f"data.path={path}", "data.kind=regression", "data.label=[height,weight]")
    fast = ("optimizer.lr=0.02", "trainer.max_epochs=15", "instruments=off", "data.batch_size=32")
    return run(config(*words, *FAST, *fast, *options))


def test_from_a_file_to_answers(config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = people(tmp_path / "people.csv")
    result = trained(config, path)
    table = predictions.read(result.directory / "predictions.csv")
    splits = result.data.splits
    assert splits is not None
    assert isinstance(splits.train.targets, torch.Tensor)
    variance = splits.train.targets.double().var(0, correction=0)
    scaled = 0.0
    for k, name in enumerate(("height", "weight")):
        error = table[f"prediction({name})"] - table[f"target({name})"]
        assert result.summary[f"test/{name}/mse"] == pytest.approx(np.mean(error**2), rel=1e-3)
        assert np.mean(error**2) < 0.2 * variance[k]
        scaled += np.mean(error**2) / variance[k].item() / 2
    assert result.summary["test/scaled_mse"] == pytest.approx(scaled, rel=1e-3)
    assert result.summary["test/loss"] == pytest.approx(scaled, rel=1e-3)
    words = [f"run={result.directory}"]
    assert show_errors(words) == 0
    assert "weight/mse" in capsys.readouterr().out
    path.rename(tmp_path / "moved.csv")

    model = gatescope.load(result.directory)
    (answer,) = model.predict("a giant here")
    assert answer.value is None
    assert answer.values == pytest.approx(
        dict(zip(("height", "weight"), SIZES["giant"], strict=True)), rel=0.15
    )

    new, out = people(tmp_path / "new.csv", 40), tmp_path / "out.csv"
    assert predict([*words, f"file={new}", f"out={out}"]) == 0
    with out.open(encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert list(first)[3:] == ["prediction(height)", "prediction(weight)", "warning"]
    assert predict([*words, "text=a child"]) == 0
    assert "weight\t" in capsys.readouterr().out
    written = tmp_path / "scores.json"
    assert evaluate([*words, f"file={new}", f"out={written}"]) == 0
    data = pd.read_csv(new)
    found = [one.values["weight"] for one in model.predict(data.text)]
    metrics = json.loads(written.read_text())["metrics"]
    assert metrics["weight/mse"]["value"] == pytest.approx(np.mean((data.weight - found) ** 2))
    scores = {name: one.mean for name, one in scores_of(result.data.task, table).items()}
    for name in ("scaled_mse", "height/mse", "weight/mse"):
        assert scores[name] == pytest.approx(result.summary[f"test/{name}"], rel=1e-4)
    assert set(scores) == set(metrics)
    assert evaluate([*words, f"file={new}", "label=weight"]) == 1
    assert "1 number(s), and the run has the outputs height, weight" in capsys.readouterr().err
    page = tmp_path / "page.html"
    assert explain([*words, "text=a child", f"out={page}"]) == 0
    assert "the value of height" in page.read_text()


def test_the_first_predictions_are_the_means(config: Compose, tmp_path: Path) -> None:
    path = people(tmp_path / "people.csv")
    result = trained(config, path, "optimizer.lr=1e-20", "trainer.max_epochs=1", "instruments=full")
    assert result.data.splits is not None
    train = torch.as_tensor(result.data.splits.train.targets)
    table = predictions.read(result.directory / "predictions.csv")
    for k, name in enumerate(("height", "weight")):
        assert abs(table[f"prediction({name})"].mean() - train[:, k].mean()) < train[:, k].std()


def test_series_and_logarithms(config: Compose, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    path = tmp_path / "series.npz"
    np.savez(path, x=np.repeat(x[:, None], 3, 1), y=np.exp(np.array([3, 9]) + x))
    words = ("data=series_file", f"data.path={path}", "data.kind=regression", "data.target_scale=log")
    fast = ("optimizer.lr=0.02", "trainer.max_epochs=12", "instruments=off")
    result = run(config(*words, *FAST, *fast))
    table = predictions.read(result.directory / "predictions.csv")
    for name in ("0", "1"):
        assert (table[f"prediction({name})"] > 0).all()
        assert np.abs(np.log(table[f"prediction({name})"] / table[f"target({name})"])).mean() < 0.5
    assert result.summary["test/scaled_mse"] < 0.5
    scaled = scores_of(result.data.task, table)["scaled_mse"].mean
    assert scaled == pytest.approx(result.summary["test/scaled_mse"], rel=1e-4)
    assert evaluate([f"run={result.directory}", f"file={path}"]) == 0
    for baseline in ("majority", "series_ridge"):
        score = run(config(*words, f"model={baseline}", "tracking=off")).summary
        assert 0 < score["test/scaled_mse"] < np.inf


def test_names_that_a_module_may_not_have(config: Compose, tmp_path: Path) -> None:
    path = tmp_path / "dots.csv"
    pd.DataFrame({"text": ["a", "b"] * 20, "size.cm": range(40), "a/b c": range(40)}).to_csv(
        path, index=False
    )
    words = (f"data.path={path}", "data.label=['size.cm','a/b c']", "data.kind=regression", "data.min_freq=1")
    result = run(config("data=text_file", *words, *FAST, "instruments=off", "monitor=size_cm/mse"))
    assert {"test/size_cm/mse", "test/a/b c/mse"} <= set(result.summary)
    assert list(gatescope.load(result.directory).predict("a")[0].values) == ["size.cm", "a/b c"]


def test_a_missing_number_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("text,a,b\n" + "word,1,2\n" * 20 + "word,3,none\n")
    with pytest.raises(DataError, match=r"row 21 \(line 22\), column a, b: b: 'none' is not a finite number"):
        TextFile(str(path), label=["a", "b"], kind="regression").build()
