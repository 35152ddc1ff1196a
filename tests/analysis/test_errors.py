"""What is computed from predictions, against scikit-learn, torchmetrics and counting."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import brier_score_loss, classification_report
from torchmetrics.functional.classification import multiclass_calibration_error

from gatescope.analysis import errors
from gatescope.analysis.comparison import compare
from gatescope.analysis.figures import load
from gatescope.analysis.runs import RecordSource

from .conftest import LABELS, write_predictions, write_run


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    return pd.DataFrame(write_predictions(tmp_path, 0, count=500))


def test_the_matrix_counts_every_example(table: pd.DataFrame) -> None:
    counts = errors.confusion(table)
    assert list(counts.index) == list(counts.columns) == list(LABELS)
    for true in LABELS:
        for predicted in LABELS:
            assert (
                counts.loc[true, predicted]
                == ((table.target == true) & (table.prediction == predicted)).sum()
            )
    pairs = errors.confused_pairs(counts)
    assert pairs.n.sum() == (table.target != table.prediction).sum()
    first = pairs.iloc[0]
    assert first.n == pairs.n.max() == counts.loc[first.true, first.predicted]
    assert first["share"] == pytest.approx(first.n / (table.target == first.true).sum())


def test_scores_of_classes_agree_with_scikit_learn(table: pd.DataFrame) -> None:
    found = errors.per_class(table).set_index("class")
    report = classification_report(table.target, table.prediction, output_dict=True)
    for name in LABELS:
        expected = [report[name][part] for part in ("precision", "recall", "f1-score", "support")]
        assert found.loc[name].tolist() == pytest.approx(expected)
    scores = errors.scores(table)
    assert scores["accuracy"] == pytest.approx(report["accuracy"])
    assert scores["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])


def test_a_class_that_is_never_predicted_and_one_without_examples() -> None:
    table = pd.DataFrame(
        {"id": [0, 1], "loss": [1.0, 1.0], "target": ["a", "b"], "prediction": ["a", "a"]}
        | {"p(a)": [0.6, 0.6], "p(b)": [0.3, 0.3], "p(c)": [0.1, 0.1]}
    )
    found = errors.per_class(table).set_index("class")
    assert found.loc["b"].tolist() == [0, 0, 0, 1]
    assert found.loc["c"].tolist() == [0, 0, 0, 0]
    assert errors.confusion(table).to_numpy().tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_calibration_agrees_with_torchmetrics(table: pd.DataFrame) -> None:
    probabilities = torch.tensor(table[[f"p({name})" for name in LABELS]].to_numpy())
    true = torch.tensor([LABELS.index(name) for name in table.target])
    expected = multiclass_calibration_error(probabilities, true, num_classes=3, n_bins=15, norm="l1")
    bins = errors.calibration(table)
    assert errors.expected_calibration_error(bins) == pytest.approx(float(expected), rel=1e-5)
    assert bins.n.sum() == 500
    assert bins[bins.n == 0].accuracy.isna().all()
    sure = table.assign(**{f"p({name})": (table.target == name).astype(float) for name in LABELS})
    sure = sure.assign(prediction=sure.target)
    assert errors.expected_calibration_error(errors.calibration(sure)) == 0
    assert errors.brier(sure) == 0


def test_the_brier_score_is_summed_over_classes(table: pd.DataFrame) -> None:
    probabilities = table[[f"p({name})" for name in LABELS]].to_numpy()
    true = np.array([[name == label for label in LABELS] for name in table.target])
    assert errors.brier(table) == pytest.approx(((probabilities - true) ** 2).sum(1).mean())
    two = pd.DataFrame(
        {"id": [0, 1], "loss": [1.0, 1.0], "target": ["a", "b"], "prediction": ["a", "a"]}
        | {"p(a)": [0.8, 0.6], "p(b)": [0.2, 0.4]}
    )
    half = brier_score_loss([0, 1], [0.2, 0.4])
    assert errors.brier(two) == pytest.approx(2 * half)


def test_the_worst_errors_are_those_of_most_seeds(tmp_path: Path) -> None:
    runs = [pd.DataFrame(write_predictions(tmp_path, seed)) for seed in range(5)]
    table = errors.with_texts(errors.worst_over_seeds(runs, 10), lambda ids: [f"text {i}" for i in ids])
    assert {118, 119} <= set(table.id[table.wrong == 5])
    assert table.wrong.is_monotonic_decreasing
    assert (table.runs == 5).all()
    for row in table.itertuples():
        predictions = [run.prediction[row.id] for run in runs]
        assert row.wrong == sum(p != row.target for p in predictions)
        assert predictions.count(row.prediction) == max(map(predictions.count, predictions))
        assert row.loss == pytest.approx(np.mean([run.loss[row.id] for run in runs]))
        assert row.text == f"text {row.id}"
    equal = table[table.wrong == table.wrong.max()]
    bad = [np.mean([run.loss[i] for run in runs]) for i in equal.id]
    assert bad == sorted(bad, reverse=True)


def test_regressions_are_ranked_by_mean_error() -> None:
    rows = {"id": [0, 1, 2], "loss": [0.0, 1.0, 4.0], "target": [1.0, 1.0, 1.0]}
    runs = [
        pd.DataFrame(rows | {"prediction": [1.0, 2.0, 3.0]}),
        pd.DataFrame(rows | {"prediction": [1.0, 2.0, 0.0]}),
    ]
    table = errors.worst_over_seeds(runs, 10)
    assert table.id.tolist() == [2, 1]
    assert table.prediction.tolist() == [1.5, 2.0]
    assert "wrong" not in table
    assert errors.scores(runs[0]) == pytest.approx({"examples": 3, "loss": 5 / 3, "mse": 5 / 3, "bias": 1.0})


def test_same_examples_compares_targets(tmp_path: Path) -> None:
    one, two = (pd.DataFrame(write_predictions(tmp_path, seed)) for seed in (0, 1))
    assert errors.same_examples([one, two])
    assert errors.same_examples([one, two.head(50)])
    two.loc[3, "target"] = "another"
    assert not errors.same_examples([one, two])
    assert not errors.same_examples([one, one.drop(columns="p(neutral)")])


def test_groups_contain_finished_runs_with_predictions(tmp_path: Path) -> None:
    for seed in range(2):
        write_predictions(write_run(tmp_path, "gru-none", seed), seed)
        write_run(tmp_path, "lstm-none", seed)
    (group,) = errors.groups(RecordSource(tmp_path, "toy").tables().finished())
    assert (group.variant, group.condition, len(group.pooled)) == ("gru-none", "", 240)
    assert errors.seed_text([group]) == "2 seeds"


@pytest.mark.parametrize(
    "classes", [2, pytest.param(26, marks=pytest.mark.slow), pytest.param(100, marks=pytest.mark.slow)]
)
def test_a_figure_of_many_classes_stays_legible(tmp_path: Path, classes: int) -> None:
    labels = [f"a rather long name of class {i}" for i in range(classes)]
    for variant in ("gru-none", "lstm-none", "rnn-none"):
        write_predictions(write_run(tmp_path, variant, 0, measurements=[]), 0, labels, 40 * classes)
    comparison = compare(RecordSource(tmp_path, "toy").tables())
    module = load("confusion_matrix")
    figure = module.draw(comparison)
    figure.canvas.draw()
    assert len(figure.axes) == 3
    for axes in figure.axes:
        boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
        assert 2 <= len(boxes) <= 12
        assert not any(a.overlaps(b) for a, b in pairwise(boxes))
        assert bool(axes.texts) == (classes == 2)
    numbers = module.numbers(comparison)
    assert len(numbers) <= 120
    if classes > 2:
        assert (numbers.true != numbers.predicted).all()
