"""Losses and metrics, compared with numpy and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss

from gatescope.sequences import IGNORE, TaskSpec
from gatescope.training.objective import objective_for


def spec(kind: str, outputs: int, **more: float) -> TaskSpec:
    return TaskSpec(kind, "features", 2, outputs, "accuracy", "max", **more)  # type: ignore[arg-type]


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 5), count=st.integers(2, 40))
@settings(deadline=None, max_examples=30)
def test_classification_equals_scikit_learn(seed: int, classes: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    objective = objective_for(spec("classification", 1 if classes == 2 else classes))
    values = torch.from_numpy(rng.normal(size=(count, objective.task.output_size))).float()
    targets = torch.from_numpy(rng.integers(0, classes, count))
    metrics = objective.metrics()
    half = count // 2
    for part in (slice(0, half), slice(half, count)):
        metrics.update(*objective.outcome(values[part], targets[part]))
    predicted, _ = objective.outcome(values, targets)
    seen = np.union1d(predicted.numpy(), targets.numpy())
    result = {name: float(value) for name, value in metrics.compute().items()}
    assert result["accuracy"] == pytest.approx(accuracy_score(targets, predicted))
    expected = f1_score(targets, predicted, average="macro", labels=seen)
    assert result["macro_f1"] == pytest.approx(expected, abs=1e-6)
    exact = values.double()
    probabilities = torch.sigmoid(exact[:, 0]) if classes == 2 else torch.softmax(exact, -1)
    loss = log_loss(targets, probabilities.numpy(), labels=list(range(classes)))
    assert float(objective.loss(values, targets).mean()) == pytest.approx(loss, rel=1e-4)


def test_regression_counts_solved_examples() -> None:
    objective = objective_for(spec("regression", 1, tolerance=0.04))
    values = torch.tensor([[1.0], [1.03], [0.9], [2.0]])
    targets = torch.tensor([1.0, 1.0, 1.0, 1.97])
    metrics = objective.metrics()
    metrics.update(*objective.outcome(values, targets))
    result = metrics.compute()
    assert float(result["solved"]) == 0.75
    assert float(result["mse"]) == pytest.approx((0.03**2 + 0.1**2 + 0.03**2) / 4, rel=1e-4)


def test_next_step_ignores_unscored_positions() -> None:
    objective = objective_for(spec("next_step", 4))
    values = torch.zeros(2, 3, 4)
    values[0, 2, 1] = 5.0
    targets = torch.tensor([[IGNORE, IGNORE, 1], [2, IGNORE, IGNORE]])
    loss = objective.loss(values, targets)
    assert float(loss[0]) == pytest.approx(math.log(math.exp(5) + 3) - 5, rel=1e-5)
    assert float(loss[1]) == pytest.approx(math.log(4), rel=1e-5)
    metrics = objective.metrics()
    metrics.update(*objective.outcome(values, targets))
    assert float(metrics.compute()["accuracy"]) == 0.5
