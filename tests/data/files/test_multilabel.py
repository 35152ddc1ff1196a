"""Several labels of a text or a series: from each form of a file to training, answers and scores."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FAST, Compose
from sklearn.metrics import accuracy_score, f1_score
from torch.nn import functional as F

import gatescope
from gatescope.commands.data import main as describe
from gatescope.commands.errors import main as show_errors
from gatescope.commands.evaluate import main as evaluate
from gatescope.commands.explain import main as explain
from gatescope.commands.predict import main as predict
from gatescope.config import ConfigError
from gatescope.data.errors import DataError
from gatescope.data.files.text_file import TextFile
from gatescope.run import RunResult, run
from gatescope.tracking import predictions
from gatescope.training.class_weights import label_weights
from gatescope.training.objective import objective_for

WORDS = {"sport": "goal", "money": "bank", "food": "soup"}
NAMES = ("food", "money", "sport")


def examples(count: int = 240) -> list[tuple[str, list[str]]]:
    """Return texts with a word for each of their labels; a quarter has none."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        labels = [name for name in WORDS if rng.random() < 0.4]
        words = rng.permutation([*(WORDS[name] for name in labels), "the", "news"])
        rows.append((" ".join(words), labels))
    return rows


def written(folder: Path, form: str, rows: list[tuple[str, list[str]]]) -> tuple[Path, list[str]]:
    """Write the texts in one of the forms; return the file and the options that read it."""
    if form == "lists":
        path = folder / "news.jsonl"
        path.write_text("".join(json.dumps({"text": text, "label": own}) + "\n" for text, own in rows))
        return path, []
    path = folder / "news.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        if form == "columns":
            table.writerow(["text", *NAMES])
            table.writerows([text, *(int(name in own) for name in NAMES)] for text, own in rows)
        else:
            table.writerow(["text", "label"])
            table.writerows([text, "; ".join(own)] for text, own in rows)
    return path, ["data.label=[food,money,sport]"] if form == "columns" else [
        "data.label_separator=semicolon"
    ]


def trained(config: Compose, path: Path, *options: str) -> RunResult:
    words = ("data=text_file", f"data.path={path}", "data.kind=multilabel", "optimizer.lr=0.02")
    fast = (*FAST, "trainer.max_epochs=12", "instruments=off", "data.batch_size=32", "data.test=0.2")
    return run(config(*words, *fast, *options))


def loaded(path: Path, **options: Any) -> TextFile:
    data = TextFile(str(path), kind="multilabel", **options)
    data.setup()
    return data


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run on a JSONL file that is gone."""
    from conftest import ROOT
    from hydra import compose, initialize_config_dir

    folder = tmp_path_factory.mktemp("news")
    path, options = written(folder, "lists", examples())

    def config(*overrides: str) -> Any:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return compose("config", ["recipe=none", f"root={folder}", *overrides])

    found = trained(config, path, "model.embedding_size=10", "attention=additive", *options)
    path.rename(folder / "moved.jsonl")
    return found


@pytest.mark.parametrize("form", ["lists", "separator", "columns"])
def test_forms_are_equivalent(tmp_path: Path, form: str) -> None:
    rows = examples(60)
    path, options = written(tmp_path, form, rows)
    keys: dict[str, Any] = {}
    for option in options:
        name, _, value = option.removeprefix("data.").partition("=")
        keys[name] = value.strip("[]").split(",") if value.startswith("[") else value
    data = loaded(path, min_freq=1, **keys)
    assert (data.task.labels, data.task.multilabel, data.task.output_size) == (NAMES, True, 3)
    assert data.splits is not None
    found = []
    for split in (data.splits.train, data.splits.validation, data.splits.test):
        for ids, target in zip(split.inputs, split.targets, strict=True):
            text = " ".join(data.task.vocabulary[i] for i in ids)
            found.append((text, [name for name, one in zip(NAMES, target.tolist(), strict=True) if one]))
    assert sorted(found) == sorted((text, sorted(own)) for text, own in rows)


def test_from_a_file_to_answers(result: RunResult) -> None:
    assert result.summary["test/macro_f1"] > 0.9
    model = gatescope.load(result.directory)
    both, none, empty = model.predict(["the bank and the soup", "the news", ""])
    assert both.labels == ["food", "money"]
    assert (none.labels, none.label, none.value) == ([], None, None)
    assert list(both.probabilities) == list(NAMES)
    assert both.probabilities["money"] > 0.5 > both.probabilities["sport"]
    assert empty.warning == "no token"


def test_reported_scores_are_those_of_scikit_learn(result: RunResult) -> None:
    table = predictions.read(result.directory / "predictions.csv")
    true, found = (
        np.array([[name in json.loads(cell) for name in NAMES] for cell in table[column]])
        for column in ("targets", "predictions")
    )
    summary = result.summary
    assert summary["test/macro_f1"] == pytest.approx(f1_score(true, found, average="macro"))
    assert summary["test/micro_f1"] == pytest.approx(f1_score(true, found, average="micro"))
    assert summary["test/subset_accuracy"] == pytest.approx(accuracy_score(true, found))
    probabilities = table[[f"p({name})" for name in NAMES]].to_numpy()
    assert (found == (probabilities > 0.5)).all()
    losses = -np.log(np.where(true, probabilities, 1 - probabilities)).mean(1)
    assert table.loss.to_numpy() == pytest.approx(losses, rel=1e-3, abs=1e-5)


def test_the_commands(result: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = examples(50)
    new, _ = written(tmp_path, "lists", rows)
    answers = tmp_path / "answers.jsonl"
    assert predict([f"run={result.directory}", f"file={new}", f"out={answers}"]) == 0
    first = json.loads(answers.read_text().splitlines()[0])
    assert set(first) == {"text", "label", "prediction", "p(food)", "p(money)", "p(sport)", "warning"}
    assert isinstance(first["prediction"], list)
    assert predict([f"run={result.directory}", "text=bank soup"]) == 0
    assert "food,money\n" in capsys.readouterr().out
    out = tmp_path / "scores.json"
    assert evaluate([f"run={result.directory}", f"file={new}", f"out={out}"]) == 0
    assert "50 examples with the label" not in capsys.readouterr().out
    content = json.loads(out.read_text())
    found = gatescope.load(result.directory).predict([text for text, _ in rows])
    true, predicted = (
        np.array([[name in own for name in NAMES] for own in lists])
        for lists in ([own for _, own in rows], [answer.labels for answer in found])
    )
    metrics = content["metrics"]
    assert metrics["macro_f1"]["value"] == pytest.approx(f1_score(true, predicted, average="macro"))
    assert metrics["micro_f1"]["value"] == pytest.approx(f1_score(true, predicted, average="micro"))
    each = f1_score(true, predicted, average=None)
    for k, name in enumerate(NAMES):
        one = content["labels"][name]
        assert one["f1"]["value"] == pytest.approx(each[k])
        assert one["f1"]["low"] <= each[k] <= one["f1"]["high"]
        assert one["recall"]["n"] == true[:, k].sum()


def test_what_looks_into_the_run(result: RunResult, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_errors([f"run={result.directory}"]) == 0
    assert "Labels. n: examples with the label." in capsys.readouterr().out
    assert explain([f"run={result.directory}", "text=the bank", f"out={result.directory / 'page.html'}"]) == 0
    batch = result.data.batch("test", [0, 1])
    assert result.module is not None
    with torch.no_grad():
        values = result.module.model(batch).values
    from gatescope.instruments.attribution import explained_output

    explained = explained_output(result.data.task, values)(values)
    probability = torch.sigmoid(values)
    assert explained.tolist() == pytest.approx(
        torch.where(values > 0, probability, 1 - probability).log().sum(1).tolist(), rel=1e-4
    )


def test_instruments_and_description(
    config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, options = written(tmp_path, "separator", examples(80))
    every = ("trainer.max_epochs=1", "instruments=full", "attention=dot", "instruments.every_n_steps=2")
    directory = trained(config, path, *options, *every).directory
    names = {json.loads(line)["name"] for line in (directory / "readings.jsonl").read_text().splitlines()}
    assert any("gradient" in name for name in names)
    words = ["data=text_file", f"data.path={path}", "data.kind=multilabel", *options, f"out={tmp_path}"]
    assert describe(words) == 0
    said = capsys.readouterr().out
    assert "classification of tokens" in said
    assert any(line.strip().startswith("money ") for line in said.splitlines())


@pytest.mark.slow
def test_series_of_several_labels(config: Compose, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (200, 2))
    x = np.repeat(y[:, None], 4, 1) + 0.1 * rng.normal(size=(200, 4, 2))
    path = tmp_path / "series.npz"
    np.savez(path, x=x, y=y)
    words = ("data=series_file", f"data.path={path}", "data.kind=multilabel", "optimizer.lr=0.05")
    result = run(config(*words, *FAST, "trainer.max_epochs=12", "instruments=off"))
    assert result.summary["test/subset_accuracy"] > 0.9
    answers = gatescope.load(result.directory).predict(x[:20])
    assert (
        np.mean(
            [a.labels == [str(k) for k in (0, 1) if one[k]] for a, one in zip(answers, y[:20], strict=True)]
        )
        > 0.9
    )
    assert evaluate([f"run={result.directory}", f"file={path}"]) == 0


def test_models_without_recurrence(config: Compose, tmp_path: Path) -> None:
    path, options = written(tmp_path, "lists", examples(100))
    words = ("data=text_file", f"data.path={path}", "data.kind=multilabel", "tracking=off", *options)
    result = run(config(*words, "model=majority"))
    assert 0 <= result.summary["test/macro_f1"] < 0.9
    with pytest.raises(
        ValueError, match="predicts one class per sequence, and these data are a classification by"
    ):
        run(config(*words, "model=tfidf_logistic"))


def test_thresholds(config: Compose, tmp_path: Path) -> None:
    path, options = written(tmp_path, "lists", examples(100))
    result = trained(config, path, *options, "data.threshold=[0.2,0.5,0.9]", "trainer.max_epochs=1")
    for answer in gatescope.load(result.directory).predict(["goal", "bank soup", "the news"]):
        limits = dict(zip(NAMES, (0.2, 0.5, 0.9), strict=True))
        assert answer.labels == [n for n, p in answer.probabilities.items() if p > limits[n]]
    with pytest.raises(
        DataError, match=r"data.threshold: given 2 numbers, allowed: one, or 3 in the order food"
    ):
        trained(config, path, *options, "data.threshold=[0.2,0.5]")


def test_weights_of_labels() -> None:
    from gatescope.data.encoding.targets import target_fields
    from gatescope.sequences import TaskSpec

    task = TaskSpec(inputs="features", input_size=1, **target_fields("multilabel", ("a", "b")))
    torch.manual_seed(0)
    targets, values = (torch.rand(50, 2) < torch.tensor([0.1, 0.6])).float(), torch.randn(50, 2)
    positive = torch.tensor([3.0, 0.5])
    given = objective_for(task, class_weights=label_weights(positive.tolist(), task, targets))
    expected = F.binary_cross_entropy_with_logits(
        values, targets, pos_weight=positive, reduction="none"
    ).mean(1)
    assert given.training_loss(values, targets).tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    absent, present = label_weights("balanced", task, targets)
    weights = present * targets + absent * (1 - targets)
    assert weights.mean(0).tolist() == pytest.approx([1, 1])
    assert (weights * targets).sum(0).tolist() == pytest.approx([25, 25])
    smoothed = objective_for(task, label_smoothing=0.2).training_loss(values, targets)
    soft = F.binary_cross_entropy_with_logits(values, 0.8 * targets + 0.1, reduction="none").mean(1)
    assert smoothed.tolist() == pytest.approx(soft.tolist())


def test_balanced_weights_find_a_rare_label(config: Compose, tmp_path: Path) -> None:
    rows = [("good day", ["x", "y"] if i % 20 == 0 else ["x"] if i % 2 else []) for i in range(200)]
    path, options = written(tmp_path, "lists", rows)
    weighted = trained(config, path, *options, "loss.class_weights=balanced", "trainer.max_epochs=4")
    (answer,) = gatescope.load(weighted.directory).predict("good day")
    assert answer.probabilities["y"] == pytest.approx(0.5, abs=0.15)  # a twentieth without weights
    with pytest.raises(ConfigError, match=r"given 3 numbers, allowed: 2, in the order x, y"):
        trained(config, path, *options, "loss.class_weights=[1,2,3]")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            [["a"], ["b"]],
            {},
            "every row has one label: use data.kind=classification, or, if labels are not sep",
        ),
        (["a|b", "b|a"], {}, "data.label_separator"),
        ([["a"], []], {}, "the only label is 'a', a task of several labels needs two"),
        ([["a", {}], ["b"]], {}, r"row 1 \(line 1\), column label: {} is not a label"),
        ([None, ["b"]], {}, r"row 1 \(line 1\), column label: missing; \[\] is an example without labels"),
    ],
)
def test_invalid_labels_are_one_message(tmp_path: Path, rows: list[Any], options: Any, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    lines = [json.dumps({"text": "some words", "label": own}) for own in rows * 20]
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        loaded(path, min_freq=1, **options)


def test_columns_that_hold_no_flags(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    pd.DataFrame({"text": ["word"] * 20, "a": [0, 1] * 10, "b": [1, 2] * 10}).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"row 2 \(line 3\), column a, b: b: '2' is neither 0 nor 1"):
        loaded(path, label=["a", "b"])
    with pytest.raises(DataError, match=r"data.label=\[a,b\]: a classification has one column of labels"):
        TextFile(str(path), label=["a", "b"]).build()
    with pytest.raises(DataError, match=r"data.label=\[a\]: give the names of two or more"):
        loaded(path, label=["a"])


def test_a_list_is_no_class(tmp_path: Path) -> None:
    path, _ = written(tmp_path, "lists", examples(40))
    with pytest.raises(DataError, match=r"a list of labels: data.kind=multilabel reads them"):
        TextFile(str(path)).build()
