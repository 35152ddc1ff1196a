"""Solved or not: counts, the lag at which half of the seeds solve a task, steps to a criterion."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Compose
from scipy import special, stats
from sklearn.linear_model import LogisticRegression

from gatescope.analysis.comparison import compare
from gatescope.analysis.outcomes import first_reached, half_lag, solved_share, steps_to_criterion
from gatescope.analysis.report import write_report
from gatescope.analysis.report.findings import lags
from gatescope.analysis.runs import RecordSource
from gatescope.config import ConfigError, check

from .conftest import write_run


def test_the_share_of_solved_seeds() -> None:
    found = solved_share([0.99, 0.95, 0.4, math.nan, 0.91], 0.9)
    exact = stats.binomtest(3, 4).proportion_ci(0.95)
    assert (found.solved, found.seeds) == (3, 4)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert str(solved_share([1.0] * 5, 0.9)) == "5 of 5 [0.48, 1.00]"
    assert solved_share([0.01, 0.2], 0.05, higher_is_better=False).solved == 1


def test_half_lag_is_the_logistic_fit() -> None:
    rng = np.random.default_rng(2)
    lags = np.repeat([10, 20, 40, 80, 160, 320], 40)
    solved = rng.random(len(lags)) < special.expit(2 * (math.log(60) - np.log(lags)))
    found = half_lag(lags, solved)
    assert found.lag == pytest.approx(60, rel=0.15)
    assert found.low < 60 < found.high
    fit = LogisticRegression(C=np.inf).fit(np.log(lags)[:, None], solved)
    assert found.lag == pytest.approx(math.exp(-fit.intercept_[0] / fit.coef_[0, 0]), rel=0.02)


def test_outcomes_without_overlap_have_a_half_lag_between_them() -> None:
    found = half_lag(np.repeat([10, 30, 100, 200], 5), np.repeat([True, True, False, False], 5))
    assert 30 < found.lag < 100
    assert 10 < found.low < found.lag < found.high < 200


def test_half_lag_is_not_bounded_by_lags_that_all_or_no_seed_solves() -> None:
    lags = np.repeat([10, 30, 100], 5)
    everything, nothing = half_lag(lags, [True] * 15), half_lag(lags, [False] * 15)
    assert (everything.lag, everything.high) == (math.inf, math.inf)
    assert everything.low > 50
    assert (nothing.lag, nothing.low) == (0.0, 0.0)
    assert nothing.high < 20


@pytest.mark.slow
def test_the_profile_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    lags = np.repeat([10, 30, 100, 300], 5)
    probability = special.expit(2 * (math.log(60) - np.log(lags)))
    found = [half_lag(lags, rng.random(20) < probability) for _ in range(60)]
    assert np.mean([one.low <= 60 <= one.high for one in found]) >= 0.88


def test_seeds_that_do_not_reach_the_criterion_are_censored() -> None:
    assert steps_to_criterion([100, 200, 300, 1000, 1000], [True, True, True, False, False]) == 300
    assert steps_to_criterion([100, 1000, 1000], [True, False, False]) == math.inf
    assert steps_to_criterion([1000] * 3, [False] * 3) == math.inf


def test_the_first_step_of_a_curve() -> None:
    curve = pd.Series([0.1, 0.95, 0.8, 0.97], index=[10, 20, 30, 40])
    assert first_reached(curve, 0.9) == (20.0, True)
    assert first_reached(curve, 0.99) == (40.0, False)
    assert first_reached(curve, 0.5, higher_is_better=False) == (10.0, True)


def test_a_study_counts_the_seeds_that_solve_its_task(tmp_path: Path) -> None:
    study = {"solved": {"metric": "test/accuracy", "at": 0.9}, "baseline": None}
    for lag, solving in ((10, 5), (40, 3), (160, 0)):
        for seed in range(5):
            data = {"_target_": "gatescope.data.generated.copy.Copy", "lag": lag}
            accuracy = 0.97 if seed < solving else 0.2
            write_run(tmp_path, "gru-none", seed, study=study, accuracy=accuracy, data=data)
            write_run(tmp_path, "rnn-none", seed, study=study, accuracy=0.2, data=data)
    source = RecordSource(tmp_path, "toy")
    outcomes = compare(source.tables()).outcomes
    assert outcomes is not None
    assert [outcomes.shares["gru-none", f"lag={lag}"].solved for lag in (10, 40, 160)] == [5, 3, 0]
    half = outcomes.half_lags["gru-none"]
    assert 20 < half.low < half.lag < half.high < 160
    text = write_report(source, tmp_path / "out", False, ["metric_by_variant"]).read_text(encoding="utf-8")
    assert "A run has solved the task where its test accuracy is at least 0.900." in text
    assert "| GRU | 5 of 5 [0.48, 1.00]" in text
    assert "3 of 5 [0.15, 0.95]" in text
    row = next(line for line in text.splitlines() if line.startswith("| RNN | 0 of 5"))
    assert row.split("|")[-2].strip().startswith("< ")


def test_the_title_of_a_study_of_lags_names_the_longest_lag_that_is_learnt(tmp_path: Path) -> None:
    study = {"solved": {"metric": "test/accuracy", "at": 0.9}, "baseline": None}
    solved = {"gru": (10, 10, 9), "lstm": (10, 9, 8), "irnn": (8, 2, 10), "rnn": (0, 0, 0)}
    for cell, counts in solved.items():
        for lag, count in zip((10, 40, 160), counts, strict=True):
            for seed in range(10):
                data = {"_target_": "gatescope.data.generated.copy.Copy", "lag": lag}
                accuracy = 0.97 if seed < count else 0.2
                write_run(tmp_path, f"{cell}-none", seed, study=study, accuracy=accuracy, data=data)
    comparison = compare(RecordSource(tmp_path, "toy").tables())
    # Clopper & Pearson's interval of 9 of 10 begins at 0.555, that of 8 of 10 at 0.444.
    assert lags.learnt(comparison) == {"rnn-none": 0, "irnn-none": 0, "gru-none": 160, "lstm-none": 40}
    assert lags.title(comparison) == (
        "GRU learns a lag of 160 steps; LSTM learns a lag of 40 steps; RNN learns not even a lag of 10; "
        "whether IRNN learns a lag of 10 is undecided"
    )


def test_a_study_declares_when_a_run_is_solved(config: Compose) -> None:
    check(config("study.solved={metric: test/accuracy, at: 0.9}", "study.margin=0.01"))
    with pytest.raises(ConfigError, match=r"study.solved.metric"):
        check(config("study.solved={metric: accuracy, at: 0.9}"))
