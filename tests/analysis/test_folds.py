"""The corrected resampled t test: by hand, in simulations of cross-validation, and on tables of runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from gatescope.analysis import statistics as s
from gatescope.analysis.intervals import metric_interval, metric_intervals
from gatescope.analysis.units import correction, mean_by_unit, unit_interval, unit_name, unit_values
from gatescope.tracking.variants import REPLICATES, Run, labels

A, B = [0.90, 0.86, 0.88, 0.91, 0.85], [0.88, 0.85, 0.84, 0.90, 0.84]
"""Accuracies on five folds, whose differences are 0.02, 0.01, 0.04, 0.01, 0.01."""


def test_the_corrected_test_by_hand() -> None:
    # mean 0.018, s² = (4 + 64 + 484 + 64 + 64) e-6 / 4 = 1.7e-4; (1/5 + 1/4) s² = 7.65e-5, its root 0.0087464
    one = s.paired_difference(A, B, overlap=1 / 4)
    assert one.estimate.mean == pytest.approx(0.018)
    assert one.estimate.high - 0.018 == pytest.approx(2.7764451 * 0.0087464, rel=1e-5)
    assert one.p == pytest.approx(2 * stats.t.sf(0.018 / 0.0087464, 4), rel=1e-4)


@pytest.mark.parametrize("overlap", [0.0, 0.25])
def test_every_interval_has_the_same_correction(overlap: float) -> None:
    d = np.array(A) - np.array(B)
    error = math.sqrt((1 / 5 + overlap) * d.var(ddof=1)) * stats.t.ppf(0.975, 4)
    found = [
        s.mean_interval(d, overlap=overlap),
        s.paired_difference(A, B, overlap=overlap).estimate,
        metric_interval(d, "real", overlap=overlap),
    ]
    rows = [s.mean_intervals([d], overlap=overlap), metric_intervals([d], "real", overlap=overlap)]
    logs = np.log(s.geometric_intervals([np.exp(d)], overlap=overlap)[["low", "high"]].to_numpy(float))
    for low, high in [
        *((one.low, one.high) for one in found),
        *((t.low[0], t.high[0]) for t in rows),
        logs[0],
    ]:
        assert (low, high) == pytest.approx((d.mean() - error, d.mean() + error))
    table = pd.DataFrame({"a": A, "b": B})
    assert s.compare_with_reference(table, "b", overlap=overlap).loc["a", "low"] == pytest.approx(
        d.mean() - error
    )
    bounded = metric_interval(A, "proportion", overlap=overlap)
    assert 0 < bounded.low < np.mean(A) < bounded.high < 1


def nearest_neighbour(x: NDArray[Any], y: NDArray[Any], train: NDArray[Any], test: NDArray[Any]) -> Any:
    """The accuracy (repetitions,) of the label of the nearest train example."""
    distance = ((x[:, test, None] - x[:, None, train]) ** 2).sum(-1)
    return (np.take_along_axis(y[:, train], distance.argmin(-1), 1) == y[:, test]).mean(1)


def least_squares(x: NDArray[Any], y: NDArray[Any], train: NDArray[Any], test: NDArray[Any]) -> Any:
    """The negative mean absolute error (repetitions,) of a linear regression."""
    own = x[:, train]
    gram, moment = np.swapaxes(own, 1, 2) @ own, np.swapaxes(own, 1, 2) @ y[:, train, None]
    return -np.abs(y[:, test] - (x[:, test] @ np.linalg.solve(gram, moment))[..., 0]).mean(1)


def false_claims(learner: Any, features: int, overlap: float) -> float:
    """Cross-validate two equally good learners (each has its own features) on 1,000 data sets of 40.

    Returns:
        The share of data sets in which the 95 % interval of the difference over ten folds excludes 0.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1000, 40, 2 * features))
    if learner is nearest_neighbour:
        y: NDArray[Any] = rng.random((1000, 40)) < 0.5
        x[..., [0, features]] += 0.8 * (2 * y[..., None] - 1)
    else:
        y = 0.5 * (x[..., 0] + x[..., features]) + rng.standard_normal((1000, 40))
    folds = np.arange(40).reshape(10, 4)
    scores = [
        [learner(part, y, np.setdiff1d(np.arange(40), test), test) for test in folds]
        for part in (x[..., :features], x[..., features:])
    ]
    table = s.mean_intervals((np.array(scores[0]) - np.array(scores[1])).T, overlap=overlap)
    return float(((table.low > 0) | (table.high < 0)).mean())


@pytest.mark.parametrize(("learner", "features"), [(nearest_neighbour, 2), (least_squares, 20)])
def test_without_the_correction_too_many_differences_are_claimed(learner: Any, features: int) -> None:
    assert false_claims(learner, features, 0.0) > 0.1
    assert false_claims(learner, features, 1 / 9) < 0.05


def runs(folds: int = 3, seeds: int = 2) -> pd.DataFrame:
    rows = [
        {"variant": "a", "condition": "", "seed": seed, "unit": fold, "overlap": 1 / (folds - 1)}
        for fold in range(folds)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows).assign(value=[float(i) for i in range(folds * seeds)])


def test_the_value_of_a_fold_is_the_mean_over_its_seeds() -> None:
    table = runs()
    assert unit_values(table).to_dict() == {0: 0.5, 1: 2.5, 2: 4.5}
    assert unit_interval(table) == s.mean_interval([0.5, 2.5, 4.5], overlap=0.5)
    assert unit_name(table) == "fold"
    assert "(1/n + 0.5) · s²" in correction(table)
    assert "mean over its seeds" in correction(table)
    table.loc[0, "value"] = math.nan
    assert unit_values(table).isna().to_dict() == {0: True, 1: False, 2: False}
    wide = pd.DataFrame([[1.0, 3.0, 5.0]], columns=pd.MultiIndex.from_tuples([(0, 0), (0, 1), (1, 0)]))
    assert mean_by_unit(wide).to_numpy().tolist() == [[2.0, 5.0]]


def test_without_folds_the_unit_is_the_seed() -> None:
    table = runs(2, 1).assign(overlap=0.0)
    assert unit_name(table) == "seed"
    assert correction(table) == ""
    assert unit_interval(table) == s.mean_interval([0.0, 1.0])


def test_the_fold_is_a_condition_in_a_sweep_and_a_unit_in_a_report() -> None:
    tags = {"variant": "gru-none", "data": "mine", "cell": "gru", "attention": "none"}
    configs = {
        fold: Run(tags, {"seed": 0, "data": {"folds": 5, "fold": fold}, "optimizer": {"lr": lr}})
        for fold, lr in ((0, 0.1), (1, 0.1), (2, 0.2))
    }
    assert labels(configs)[1].text == "gru-none fold=1 lr=0.1"
    assert [one.text for one in labels(configs, REPLICATES).values()] == [
        "gru-none lr=0.1",
        "gru-none lr=0.1",
        "gru-none lr=0.2",
    ]
