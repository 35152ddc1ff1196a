"""The predictions of a run: its test metrics follow from them, and no cell is a formula."""

from __future__ import annotations

import csv
import json
import math
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FAST, SMALL, Compose
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sacrebleu import corpus_bleu, corpus_chrf
from scipy.io import savemat
from sklearn.metrics import f1_score, log_loss

from gatescope import run as runs
from gatescope.analysis.runs import RecordSource
from gatescope.run import run
from gatescope.sequences import END, IGNORE, TaskSpec
from gatescope.tracking import predictions
from gatescope.training.objective import objective_for
from gatescope.training.predictions import batch_columns, concatenate

NASTY = ['=HYPERLINK("http://x",1)', "+1 or,more", "NA", "-1", "'quoted", "two\nlines", "ünï"]
"""Names of classes that a spreadsheet or a parser could misinterpret."""


def texts(path: Path, labels: list[str], rows: int = 60) -> tuple[str, ...]:
    """Write a file of texts with these labels, and return overrides for it."""
    rng = np.random.default_rng(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for i in range(rows * len(labels)):
            words = rng.choice(["good", "bad", "=sum", "plain", "-x"], 4)
            writer.writerow([" ".join(words), labels[i % len(labels)]])
    return (
        "data=text_file", f"data.path={path}", "data.text=text", "data.label=label", "data.test=0.2",
        "data.batch_size=16", "data.min_freq=1", "data.tokenizer=split", *FAST, "instruments=off",
    )  # fmt: skip


def kept(directory: Path) -> pd.DataFrame:
    path = predictions.find(directory)
    assert path is not None
    table = predictions.read(path)
    assert table.id.is_monotonic_increasing
    assert table.id.is_unique
    return table


def summary(directory: Path) -> dict[str, float]:
    found = json.loads((directory / "run.json").read_text())["summary"]
    return {name.removeprefix("test/"): value for name, value in found.items() if name.startswith("test/")}


def recomputed(table: pd.DataFrame) -> dict[str, float]:
    """Compute the metrics of a run from its file of predictions, as its documentation defines them."""
    found = {"loss": table.loss.mean()}
    if predictions.classes(table):
        found["accuracy"] = (table.target == table.prediction).mean()
        found["macro_f1"] = f1_score(table.target, table.prediction, average="macro", zero_division=0)
    elif "errors" in table:
        answers = [[t, *json.loads(a or "[]")] for t, a in zip(table.target, _also(table), strict=True)]
        found["exact_match"] = np.mean([p in a for p, a in zip(table.prediction, answers, strict=True)])
        found["error_rate"] = table.errors.sum() / table.symbols.sum()
        said, columns = list(table.prediction), [list(one) for one in zip_longest(*answers)]
        found["bleu"] = corpus_bleu(said, columns, tokenize="none", force=True).score
        found["chrf"] = corpus_chrf(said, columns).score
    elif "target" in table:
        error = table.prediction - table.target
        found |= {"mse": (error**2).mean(), "solved": (error.abs() < 0.04).mean()}
    elif "correct" in table:
        found["accuracy"] = table.correct.sum() / table.scored.sum()
        found["bpc"] = (table.loss * table.scored).sum() / table.scored.sum() / math.log(2)
    else:
        found["nll"] = (table.loss * table.steps).sum() / table.steps.sum()
        found["frame_accuracy"] = table.hits.sum() / table.either.sum()
    return found


def _also(table: pd.DataFrame) -> Any:
    return table["also"] if "also" in table else [""] * len(table)


def assert_the_metrics_follow(directory: Path, names: set[str]) -> pd.DataFrame:
    table, told = kept(directory), summary(directory)
    found = recomputed(table)
    for name, value in told.items():
        rate = "error_rate" if name.endswith("_error_rate") else name
        assert found[rate] == pytest.approx(value, rel=2e-5, abs=1e-6), name
    assert names <= told.keys()
    return table


@pytest.mark.parametrize("classes", [2, 7])
def test_a_classification(config: Compose, tmp_path: Path, classes: int) -> None:
    labels = NASTY[:classes]
    result = run(config(*texts(tmp_path / "my.csv", labels), "optimizer.lr=0.05"))
    table = assert_the_metrics_follow(result.directory, {"loss", "accuracy", "macro_f1"})
    assert list(table.id) == list(range(len(result.data.splits.test)))
    assert predictions.classes(table) == list(result.data.task.labels)
    assert set(table.target) == set(labels)
    chances = table[[f"p({name})" for name in result.data.task.labels]].to_numpy()
    np.testing.assert_allclose(chances.sum(1), 1, atol=5e-6)
    in_order = chances[:, np.argsort(result.data.task.labels)] / chances.sum(1, keepdims=True)
    assert log_loss(table.target, in_order) == pytest.approx(table.loss.mean(), rel=1e-4)
    truth = [result.data.task.labels[int(i)] for i in result.data.splits.test.targets]
    assert list(table.target) == truth


def test_a_regression(small: Compose) -> None:
    result = run(small("instruments=off"))
    table = assert_the_metrics_follow(result.directory, {"loss", "mse", "solved"})
    np.testing.assert_array_equal(table.target.astype(np.float32), result.data.splits.test.targets.numpy())


@pytest.mark.slow
def test_a_transduction_of_characters_and_of_words(config: Compose, tmp_path: Path) -> None:
    sizes = ("data.train=96", "data.validation=32", "data.test=32", "data.batch_size=32", *FAST)
    dates = run(config("data=dates", *sizes, "decoder.beam=2", "instruments=off"))
    assert_the_metrics_follow(dates.directory, {"exact_match", "character_error_rate"})
    pairs = tmp_path / "pairs.tsv"
    rng = np.random.default_rng(0)
    words = [" ".join(rng.choice(["a", "b", "c"], 3)) for _ in range(80)]
    pairs.write_text("source\ttarget\n" + "".join(f"{w}\t={w} +{w}\n" for w in words), encoding="utf-8")
    own = ("data=pairs_file", f"data.path={pairs}", "data.batch_size=16", *FAST, "instruments=off")
    result = run(config(*own, "data.tokenizer=split", "data.test=0.3"))
    table = assert_the_metrics_follow(result.directory, {"exact_match", "bleu", "chrf"})
    assert all(target.startswith("=") for target in table.target)


@pytest.mark.parametrize("stateful", [False, True])
def test_one_symbol_per_step(config: Compose, tmp_path: Path, stateful: bool) -> None:
    if stateful:
        (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog, and again: " * 30)
        data = ("data=characters", f"data.path={tmp_path}/text.txt", "data.steps=20", "data.batch_size=4")
    else:
        data = ("data=copy", "data.lag=5", "data.train=64", "data.validation=16", "data.test=24")
    result = run(config(*data, *FAST, "instruments=off"))
    table = assert_the_metrics_follow(result.directory, {"accuracy", "bpc"} if stateful else {"accuracy"})
    assert len(table) == len(result.data.splits.test)


def test_several_outputs_per_step(config: Compose, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cells = {}
    for part, count in (("traindata", 8), ("validdata", 3), ("testdata", 5)):
        cells[part] = np.empty((1, count), dtype=object)
        cells[part][0] = [(rng.random((5 + i, 88)) < 0.05).astype(np.uint8) for i in range(count)]
    savemat(tmp_path / "my.mat", cells)
    data = ("data=polyphonic_file", f"data.path={tmp_path}/my.mat", "data.batch_size=4")
    table = assert_the_metrics_follow(
        run(config(*data, *FAST, "instruments=off")).directory, {"nll", "frame_accuracy"}
    )
    assert list(table.steps) == [4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("tfidf_logistic", "texts"),
        ("majority", "texts"),
        ("series_ridge", "adding"),
        ("majority", "copy"),
    ],
)
def test_a_baseline(config: Compose, tmp_path: Path, model: str, data: str) -> None:
    overrides = {
        "texts": texts(tmp_path / "my.csv", NASTY[:3]),
        "adding": (*SMALL, *FAST),
        "copy": ("data=copy", "data.lag=5", "data.train=64", "data.validation=16", "data.test=24", *FAST),
    }[data]
    words = [w for w in overrides if not w.startswith("model.")]
    result = run(config(*words, f"model={model}"))
    table = assert_the_metrics_follow(result.directory, {"loss"})
    assert len(table) == len(result.data.splits.test)


def test_only_tested_examples_are_written(small: Compose) -> None:
    result = run(small("+trainer.limit_test_batches=2", "data.test=256", "instruments=off"))
    assert len(assert_the_metrics_follow(result.directory, {"mse"})) == 2 * 4 * 16


def test_predictions_are_those_of_the_tested_weights(small: Compose) -> None:
    """The tested weights are those of the best epoch, which is not the last."""
    result = run(small("trainer.max_epochs=4", "optimizer.lr=0.5", "instruments=off"))
    values = [r["validation/mse"] for r in _rows(result.directory) if "validation/mse" in r]
    assert values[-1] > min(values)
    best = torch.load(result.directory / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    model = result.module.model.eval()
    model.load_state_dict({name.removeprefix("model."): value for name, value in best.items()})
    with torch.no_grad():
        said = model(result.data.batch("test", range(32))).values[:, 0].numpy()
    np.testing.assert_allclose(kept(result.directory).prediction, said, rtol=1e-5, atol=1e-6)


def _rows(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_a_run_that_is_stopped_after_its_test_is_tested_again(
    small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    cfg = small("trainer.max_epochs=2", f"root={tmp_path}/a", "instruments=off")
    with monkeypatch.context() as patch:
        patch.setattr("gatescope.tracking.lifecycle.TrackedRun.write_predictions", stop)
        with pytest.raises(KeyboardInterrupt):
            run(cfg)
    again = run(cfg)
    whole = run(small("trainer.max_epochs=2", f"root={tmp_path}/b", "instruments=off"))
    assert json.loads((again.directory / "run.json").read_text())["resumed"]
    assert (again.directory / "predictions.csv").read_bytes() == (
        whole.directory / "predictions.csv"
    ).read_bytes()


def test_a_new_attempt_has_no_earlier_predictions(small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = run(small("instruments=off")).directory
    assert (directory / "predictions.csv").exists()

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(runs, "load_data", fail)
    with pytest.raises(ZeroDivisionError):
        run(small("instruments=off", "force=true"))
    assert predictions.find(directory) is None


def test_tables_contain_predictions(small: Compose, tmp_path: Path) -> None:
    directory = run(small("instruments=off")).directory
    tables = RecordSource(tmp_path, "default").tables()
    pd.testing.assert_frame_equal(tables.predictions(directory.name), kept(directory))
    assert tables.predictions("no such run") is None
    (directory / "predictions.csv").write_text("nothing of the kind\n")
    assert tables.predictions(directory.name) is None


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(labels=st.lists(st.one_of(names, st.sampled_from(NASTY)), min_size=2, max_size=4, unique=True))
def test_any_name_is_read_back_and_none_is_a_formula(
    tmp_path_factory: pytest.TempPathFactory, labels: list[str]
) -> None:
    count = len(labels)
    columns: dict[str, Any] = {"id": np.arange(count), "loss": np.ones(count)}
    columns |= {"target": labels, "prediction": labels[::-1]} | {f"p({n})": np.ones(count) for n in labels}
    name, content = predictions.encode(columns)
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    table = predictions.read(path)
    assert list(table.target) == labels
    assert list(table.prediction) == labels[::-1]
    assert predictions.classes(table) == labels
    with path.open(newline="", encoding="utf-8-sig") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    for cell in cells:
        assert cell[:1] not in set("=+-@\t\r\n") or predictions.NUMBER.fullmatch(cell)


def test_all_accepted_answers_are_read_back() -> None:
    vocabulary = ("<end>", "=a", "b", "c")
    task = TaskSpec("transduction", "tokens", 4, 4, "exact_match", "max", target_vocabulary=vocabulary)
    objective = objective_for(task)
    targets = torch.tensor([[1, 2, END, 2, END], [3, END, IGNORE, IGNORE, IGNORE]])
    outcome = objective.outcome(torch.tensor([[2, END], [3, 3]]), targets)
    columns = objective.columns(torch.zeros(2, 3, 4), targets, outcome)
    assert columns["target"] == ["=a b", "c"]
    assert columns["also"] == ['["b"]', ""]
    assert (columns["errors"].tolist(), columns["symbols"].tolist()) == ([0, 1], [1, 1])
    text = predictions.encode(batch_columns(torch.arange(2), torch.ones(2), columns))[1].decode()
    assert text.splitlines()[1] == '0,1,\'=a b,b,"[""b""]",0,1'


def test_batches_are_concatenated_in_order_of_id() -> None:
    parts = [
        {"id": np.array([3, 0]), "target": ["d", "a"], "p": np.array([0.3, 0.0])},
        {"id": np.array([2, 1]), "target": ["c", "b"], "p": np.array([0.2, 0.1])},
    ]
    found = concatenate(parts)
    assert (found["id"].tolist(), found["target"]) == ([0, 1, 2, 3], ["a", "b", "c", "d"])
    assert found["p"].tolist() == [0.0, 0.1, 0.2, 0.3]
    assert concatenate([]) == {}


def test_a_large_file_is_compressed(small: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = kept(run(small("instruments=off", f"root={tmp_path}/a")).directory)
    monkeypatch.setattr(predictions, "MAX_PLAIN_BYTES", 100)
    directory = run(small("instruments=off", f"root={tmp_path}/b")).directory
    assert not (directory / "predictions.csv").exists()
    pd.testing.assert_frame_equal(kept(directory), plain)
    pd.testing.assert_frame_equal(pd.read_csv(directory / "predictions.csv.gz"), plain)


def test_worst_predictions_come_first_without_correct_ones() -> None:
    classified = {
        "id": [0, 1, 2, 3], "loss": [0.1, 3.0, 1.0, 3.0],
        "target": ["a", "a", "b", "b"], "prediction": ["a", "b", "a", "a"], "p(a)": [0] * 4, "p(b)": [0] * 4,
    }  # fmt: skip
    assert predictions.worst(classified, 9) == [1, 3, 2]
    assert predictions.worst(classified, 1) == [1]
    valued = {"id": [0, 1, 2], "loss": [0, 0, 0], "target": [1.0, 2.0, 3.0], "prediction": [1.0, 5.0, 2.0]}
    assert predictions.worst(valued, 9) == [1, 2]
    written = {"id": [0, 1], "loss": [1.0, 1.0], "target": ["x"] * 2, "prediction": ["x"] * 2}
    assert predictions.worst(written | {"errors": [1, 2], "symbols": [4, 2]}, 9) == [1, 0]
    stepped = {"id": [0, 1], "loss": [1.0, 2.0], "correct": [3, 3], "scored": [3, 4]}
    assert predictions.worst(stepped, 9) == [1]
