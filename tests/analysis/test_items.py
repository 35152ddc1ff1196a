"""The contributions of test items to a metric: their mean is the metric, their variance that of test sets."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from gatescope.analysis.items import contributions, items_of, variance_of, variance_of_difference


def classified(
    rng: np.random.Generator, count: int, names: tuple[str, ...] = ("a", "b", "c")
) -> pd.DataFrame:
    target = rng.choice(names, count, p=[0.6, 0.3, 0.1])
    prediction = np.where(rng.random(count) < 0.7, target, rng.choice(names, count))
    table = pd.DataFrame(
        {"id": range(count), "loss": rng.random(count), "target": target, "prediction": prediction}
    )
    return table.assign(**{f"p({name})": 1 / 3 for name in names})


def test_the_mean_of_the_contributions_is_the_metric() -> None:
    rng = np.random.default_rng(0)
    table = classified(rng, 200)
    expected = {
        "test/accuracy": (table.target == table.prediction).mean(),
        "test/macro_f1": f1_score(table.target, table.prediction, average="macro"),
        "test/loss": table.loss.mean(),
    }
    for metric, value in expected.items():
        found = contributions(table, metric)
        assert found is not None
        assert found.mean() == pytest.approx(value)
    assert contributions(table, "test/bleu") is None


@pytest.mark.slow
def test_the_variance_of_macro_f1_is_that_of_the_bootstrap() -> None:
    rng = np.random.default_rng(1)
    table = classified(rng, 600)
    samples = [table.sample(len(table), replace=True, random_state=k) for k in range(300)]
    scores = [f1_score(one.target, one.prediction, average="macro") for one in samples]
    found = variance_of(items_of([table], "test/macro_f1"))
    assert found is not None
    assert found.variance**0.5 == pytest.approx(np.std(scores), rel=0.12)


@pytest.mark.parametrize(
    ("columns", "metric", "value"),
    [
        ({"errors": [0, 2, 1], "symbols": [4, 4, 2]}, "test/character_error_rate", 0.3),
        ({"errors": [0, 2, 1], "symbols": [4, 4, 2]}, "test/exact_match", 1 / 3),
        ({"target": [1.0, 2.0, 4.0], "prediction": [1.0, 3.0, 2.0]}, "test/mse", 5 / 3),
        ({"correct": [1, 3, 2], "scored": [2, 3, 5]}, "test/accuracy", 0.6),
        ({"correct": [1, 3, 2], "scored": [2, 3, 5]}, "test/bpc", (2 * 1 + 3 * 2 + 5 * 3) / 10 / np.log(2)),
        ({"steps": [1, 1, 2], "hits": [1, 1, 1], "either": [1, 2, 3]}, "test/nll", 9 / 4),
        ({"steps": [1, 1, 2], "hits": [1, 1, 1], "either": [1, 2, 3]}, "test/frame_accuracy", 0.5),
        (
            {
                "correct": [1, 3, 2],
                "scored": [2, 3, 5],
                "span_hits": [1, 0, 2],
                "span_predictions": [2, 1, 2],
                "spans": [1, 0, 4],
            },
            "test/span_f1",
            0.6,
        ),
        (
            {
                "target(a)": [1.0] * 3,
                "prediction(a)": [2.0] * 3,
                "target(b)": [1.0] * 3,
                "prediction(b)": [1.0] * 3,
            },
            "test/scaled_mse",
            2.0,
        ),
    ],
)
def test_metrics_of_other_tasks(columns: dict[str, list[float]], metric: str, value: float) -> None:
    table = pd.DataFrame({"id": [0, 1, 2], "loss": [1.0, 2.0, 3.0], **columns})
    found = contributions(table, metric)
    assert found is not None
    assert found.mean() == pytest.approx(value)


def test_metrics_of_several_labels() -> None:
    rng = np.random.default_rng(4)
    true, found = rng.random((60, 3)) < [0.5, 0.3, 0], rng.random((60, 3)) < [0.5, 0.3, 0]
    names = np.array(["a", "b", "never"])
    as_json = {
        column: [json.dumps(names[row].tolist()) for row in rows]
        for column, rows in (("targets", true), ("predictions", found))
    }
    table = pd.DataFrame({"id": range(60), "loss": 1.0, **as_json} | {f"p({name})": 0.5 for name in names})
    expected = {
        "test/macro_f1": f1_score(true, found, average="macro", zero_division=0.0),
        "test/micro_f1": f1_score(true, found, average="micro"),
        "test/subset_accuracy": (true == found).all(1).mean(),
    }
    for metric, value in expected.items():
        contributed = contributions(table, metric)
        assert contributed is not None
        assert contributed.mean() == pytest.approx(value)


def test_runs_on_different_examples_have_no_items() -> None:
    rng = np.random.default_rng(2)
    one, other = classified(rng, 50), classified(rng, 50)
    assert items_of([one, other], "test/accuracy") is None
    assert items_of([one.head(1)], "test/accuracy") is None
    assert items_of([], "test/accuracy") is None


def test_a_shared_test_set_makes_differences_vary_less() -> None:
    rng = np.random.default_rng(3)
    table = classified(rng, 400)
    better = table.assign(prediction=np.where(rng.random(400) < 0.2, table.target, table.prediction))
    a, b = items_of([better], "test/accuracy"), items_of([table], "test/accuracy")
    assert a is not None and b is not None  # noqa: PT018
    difference = variance_of_difference(a, b)
    assert difference is not None
    each = variance_of(a)
    assert each is not None
    assert difference.variance < each.variance
    assert variance_of_difference(a, items_of([table.head(300)], "test/accuracy")) is None  # type: ignore[arg-type]
