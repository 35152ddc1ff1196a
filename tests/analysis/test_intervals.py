"""Intervals of metrics: within their range, equal to scipy where it has them, and simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gatescope.analysis.intervals import (
    clopper_pearson,
    metric_interval,
    metric_intervals,
    scale_of,
)
from gatescope.analysis.statistics import ItemVariance, mean_interval

SEEDS = 5


@pytest.mark.parametrize(
    ("metric", "scale"),
    [
        ("test/accuracy", "proportion"),
        ("test/macro_f1", "proportion"),
        ("test/exact_match", "proportion"),
        ("test/loss", "positive"),
        ("validation/mse", "positive"),
        ("test/phoneme_error_rate", "positive"),  # insertions can bring it above 1
        ("seconds_per_epoch", "positive"),
        ("test/bleu", "real"),
    ],
)
def test_the_scale_follows_from_the_name(metric: str, scale: str) -> None:
    assert scale_of(metric) == scale


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 0.01), st.integers(2, 5000))
def test_an_interval_of_a_proportion_stays_within(values: list[float], variance: float, count: int) -> None:
    for items in (None, ItemVariance(variance, count)):
        got = metric_interval(values, "proportion", items)
        assert got.n == len(values)
        if not math.isnan(got.low):
            assert 0 <= got.low <= got.mean <= got.high <= 1


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=8))
def test_an_interval_of_a_loss_is_positive(values: list[float]) -> None:
    got = metric_interval(values, "positive")
    if not math.isnan(got.low):
        assert 0 <= got.low <= got.mean <= got.high


def test_a_mean_next_to_zero_is_zero() -> None:
    got = metric_interval([0.0, 5e-324, 5e-324], "proportion", ItemVariance(0.01, 2))
    exact = metric_interval([0.0, 0.0, 0.0], "proportion", ItemVariance(0.01, 2))
    assert (got.low, got.high) == pytest.approx((exact.low, exact.high))
    assert math.isnan(metric_interval([5e-324, 1e-323], "positive").low)


def test_with_a_small_spread_it_is_the_t_interval() -> None:
    x = 0.7 + 1e-4 * np.array([1.0, -2.0, 0.5, 3.0, -1.0])
    plain = mean_interval(x)
    for scale in ("proportion", "positive", "real"):
        got = metric_interval(x, scale)
        assert (got.low, got.high) == pytest.approx((plain.low, plain.high), rel=1e-6)


def test_the_range_of_a_wrongly_named_metric_is_not_assumed() -> None:
    assert metric_interval([-3.0, 2.0, 5.0], "proportion") == mean_interval([-3.0, 2.0, 5.0])


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (3, 20), (997, 1000)])
def test_clopper_pearson_is_scipys(successes: int, trials: int) -> None:
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    assert clopper_pearson(successes, trials) == pytest.approx((expected.low, expected.high))


def test_all_correct_has_the_interval_of_the_items() -> None:
    got = metric_interval([1.0] * SEEDS, "proportion", ItemVariance(0.0, 40))
    assert (got.low, got.high) == pytest.approx(tuple(stats.binomtest(40, 40).proportion_ci(0.95)))
    assert math.isnan(metric_interval([1.0] * SEEDS, "proportion").low)


def test_one_seed_has_the_interval_of_its_items() -> None:
    items = ItemVariance(0.8 * 0.2 / 400, 400)
    got = metric_interval([0.8], "proportion", items)
    assert (got.low, got.high) == pytest.approx(
        tuple(stats.binomtest(320, 400).proportion_ci(0.95)), abs=0.004
    )
    assert math.isnan(metric_interval([0.8], "proportion").low)


def test_rows_are_single_intervals() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (20, SEEDS))
    x[3] = 1.0
    x[5, 2] = math.nan
    for scale in ("proportion", "positive", "real"):
        table = metric_intervals(x, scale)
        for row, (mean, low, high, n) in zip(x, table.itertuples(index=False), strict=True):
            one = metric_interval(row, scale)
            expected = [one.mean, one.low, one.high, one.n]
            assert [mean, low, high, n] == pytest.approx(expected, nan_ok=True)


def study(rng: np.random.Generator, accuracy: float, seed_spread: float, items: int) -> np.ndarray:
    """Correctness (seeds, items): items differ in difficulty, seeds in their mean; one shared test set."""
    difficulty = rng.normal(0, 1.5, items)
    skill = rng.normal(0, seed_spread, SEEDS)
    offset = stats.norm.ppf(accuracy) * math.sqrt(1 + 1.5**2 + seed_spread**2)
    return rng.normal(0, 1, (SEEDS, items)) < offset + difficulty + skill[:, None]


def covers(correct: np.ndarray, truth: float, with_items: bool) -> bool:
    of_items = ItemVariance(float(correct.mean(0).var(ddof=1)) / correct.shape[1], correct.shape[1])
    got = metric_interval(correct.mean(1), "proportion", of_items if with_items else None)
    return got.low <= truth <= got.high


@pytest.mark.parametrize(("accuracy", "items"), [(0.745, 1000), (0.955, 1000), (0.88, 60)])
def test_coverage_of_the_accuracy_on_other_test_sets(accuracy: float, items: int) -> None:
    rng = np.random.default_rng(1)
    draws = [study(rng, accuracy, 0.03, items) for _ in range(400)]
    with_items = np.mean([covers(one, accuracy, True) for one in draws])
    without = np.mean([covers(one, accuracy, False) for one in draws])
    assert 0.92 <= with_items <= 0.985
    assert without < 0.85, "seeds that share a test set do not say how far another one would lie"
