from __future__ import annotations

import doctest
import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gatescope.analysis import statistics as s

values = st.lists(st.floats(-100, 100), min_size=2, max_size=12)


def test_the_examples_in_the_docstring_are_correct() -> None:
    assert doctest.testmod(s).failed == 0
    assert doctest.testmod(s).attempted > 5


def test_interval_of_a_textbook_sample() -> None:
    # Mean 5, sd 2.581989, n 4; t(0.975, 3) = 3.182446: half width 4.108519.
    got = s.mean_interval([2, 4, 6, 8])
    assert (got.mean, got.n) == (5.0, 4)
    assert got.high - 5.0 == pytest.approx(4.108519, abs=1e-5)
    assert 5.0 - got.low == pytest.approx(4.108519, abs=1e-5)


@settings(deadline=None, max_examples=50)
@given(values)
def test_interval_equals_scipys(x: list[float]) -> None:
    if np.std(x) < 1e-3:
        return
    expected = stats.ttest_1samp(x, 0).confidence_interval(0.95)
    got = s.mean_interval(x)
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), rel=1e-12, abs=1e-11)


DRAWS = 2000


def covered(table: pd.DataFrame, truth: float) -> float:
    return float(((table.low <= truth) & (truth <= table.high)).mean())


@pytest.mark.parametrize("seeds", [3, 5, 8, 20])
def test_95_percent_intervals_have_their_nominal_coverage(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    normal = rng.normal(3.0, 2.0, (DRAWS, seeds))
    assert 0.92 <= covered(s.mean_intervals(normal), 3.0) <= 0.98
    assert 0.92 <= covered(s.geometric_intervals(np.exp(normal)), math.exp(3.0)) <= 0.98
    # Scores of one seed share a random effect, which pairing removes.
    luck, a, b = rng.normal(0, 3, (DRAWS, seeds)), *rng.normal(0, 1, (2, DRAWS, seeds))
    assert 0.92 <= covered(s.mean_intervals((luck + a + 0.7) - (luck + b)), 0.7) <= 0.98


@pytest.mark.parametrize(("seeds", "tasks"), [(5, 1), (5, 4), (8, 4)])
def test_interquartile_intervals_have_their_nominal_coverage(seeds: int, tasks: int) -> None:
    rng = np.random.default_rng(seeds)
    levels = rng.normal(size=tasks)
    truth = stats.trim_mean(levels + rng.normal(0, 0.5, (100_000, tasks)), 0.25, axis=None)
    found = [
        s.interquartile_mean(levels + rng.normal(0, 0.5, (seeds, tasks)), resamples=200) for _ in range(DRAWS)
    ]
    assert 0.92 <= np.mean([e.low <= truth <= e.high for e in found]) <= 0.98


def test_intervals_of_many_rows_equal_those_of_each_row() -> None:
    x = np.random.default_rng(8).normal(size=(6, 5))
    x[1, 2:], x[2], x[3, 0] = math.nan, math.nan, math.inf
    x[1, 1] = math.nan
    for many, one in ((s.mean_intervals, s.mean_interval), (s.geometric_intervals, s.geometric_interval)):
        expected = pd.DataFrame([vars(one(row)) for row in x])
        pd.testing.assert_frame_equal(many(x), expected, check_dtype=False)


def test_the_expected_best_is_the_mean_over_all_sets_of_trials() -> None:
    scores = [0.3, 0.9, 0.1, 0.5, 0.5]
    expected = [np.mean([max(c) for c in combinations(scores, k)]) for k in range(1, 6)]
    assert s.expected_best(scores) == pytest.approx(expected)


def test_one_value_none_nan_and_constants() -> None:
    one, none, constant = s.mean_interval([3.0]), s.mean_interval([math.nan]), s.mean_interval([2.0] * 4)
    assert one.mean == 3.0
    assert math.isnan(one.low)
    assert none.n == 0
    assert math.isnan(none.mean)
    assert (constant.mean, constant.n) == (2.0, 4)
    assert math.isnan(constant.low)
    assert math.isnan(constant.high)
    assert s.mean_interval([1.0, math.nan, 3.0]).n == 2


def test_geometric_interval_is_the_interval_of_logs() -> None:
    x = np.exp(np.random.default_rng(1).normal(size=6))
    low, high = stats.ttest_1samp(np.log(x), 0).confidence_interval(0.95)
    got = s.geometric_interval([*x, 0.0])
    assert got.n == 6
    assert (got.mean, got.low, got.high) == pytest.approx((stats.gmean(x), math.exp(low), math.exp(high)))


def test_geometric_mean_does_not_drift_where_the_arithmetic_does() -> None:
    draws = np.exp(np.random.default_rng(2).normal(-2, 2, (500, 8)))
    logs = [math.log(s.geometric_interval(d).mean) for d in draws]
    assert np.mean(logs) == pytest.approx(-2, abs=0.1)
    assert np.mean(np.log(draws.mean(1))) > -1.2


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=2, max_size=10))
def test_paired_difference_equals_scipys_paired_t(pairs: list[tuple[float, float]]) -> None:
    a, b = zip(*pairs, strict=True)
    if np.std(np.subtract(a, b)) < 1e-4:
        return
    got = s.paired_difference(np.array(a), np.array(b))
    expected = stats.ttest_rel(a, b)
    low, high = expected.confidence_interval(0.95)
    assert got.p == pytest.approx(expected.pvalue, rel=1e-12, abs=1e-12)
    assert (got.estimate.low, got.estimate.high) == pytest.approx((low, high), rel=1e-12, abs=1e-12)
    # The textbook formula: mean ± t(0.975, n − 1) · sd / √n.
    d = np.subtract(a, b)
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / math.sqrt(len(d))
    assert got.estimate.high - got.estimate.low == pytest.approx(2 * half, rel=1e-9)


def test_pairs_are_the_seeds_that_both_have() -> None:
    a = pd.Series([1.0, 2.0, 5.0, math.nan], index=[0, 1, 2, 4], name="a")
    b = pd.Series([9.0, 1.0, 2.0, 1.0], index=[7, 1, 2, 4], name="b")
    got = s.paired_difference(a, b)
    assert got.seeds == (1, 2)
    assert got.estimate.mean == 2.0
    assert s.paired_difference(a, b.loc[[7]]).estimate.n == 0


def test_pairing_removes_the_variance_between_seeds() -> None:
    rng = np.random.default_rng(3)
    common = rng.normal(0, 1, 8)
    a, b = common + 0.1 + rng.normal(0, 0.05, 8), common + rng.normal(0, 0.05, 8)
    assert s.paired_difference(np.array(a), np.array(b)).p < 0.05 < stats.ttest_ind(a, b).pvalue


def test_a_table_of_results_is_summarized_and_compared_by_column() -> None:
    rng = np.random.default_rng(6)
    table = pd.DataFrame(rng.normal([0.0, 3.0, 0.1], size=(6, 3)), columns=["rnn", "gru", "lstm"])
    table.loc[2, "lstm"] = math.nan
    for name, row in s.summarize(table).iterrows():
        expected = s.mean_interval(table[name])
        assert tuple(row) == (expected.mean, expected.low, expected.high, expected.n)
    got = s.compare_with_reference(table, "rnn")
    assert list(got.index) == ["gru", "lstm"]
    for name, row in got.iterrows():
        difference = s.paired_difference(table[name], table["rnn"])
        assert (row["mean"], row.p, row.n) == (difference.estimate.mean, difference.p, len(difference.seeds))
        assert row.verdict == s.verdict(difference, row.p_holm)
    assert list(got.p_holm) == list(s.holm(got.p))
    assert list(got.verdict) == ["ahead", s.NO_DIFFERENCE]
    assert s.compare_with_reference(table, "rnn", higher_is_better=False).verdict["gru"] == "behind"


def test_superiority_counts_ties_half() -> None:
    assert s.superiority([3, 2, 1, 0], [1, 2, 3, -1]) == (1 + 0.5 + 0 + 1) / 4
    assert math.isnan(s.superiority([], []))


def test_constant_differences() -> None:
    same = s.paired_difference([1.0] * 5, [1.0] * 5)
    assert same.p == 1.0
    assert s.verdict(same, same.p) == "no significant difference"
    apart = s.paired_difference([2.0] * 5, [1.0] * 5)
    assert math.isnan(apart.p)
    assert math.isnan(apart.estimate.low)
    assert s.verdict(apart, apart.p) == s.NO_SPREAD


def test_differences_alike_to_rounding_have_no_test() -> None:
    # Accuracies of float32 on 1,000 items that differ by exactly seven of them.
    right = np.array([801, 813, 822, 790, 805])
    a, b = (list((right + more).astype(np.float32) / np.float32(1000)) for more in (7, 0))
    difference = s.paired_difference(a, b)
    assert len(set(np.subtract(a, b))) > 1, "rounding makes them unequal"
    assert math.isnan(difference.p)
    # Six more items in one seed give a spread.
    assert 0 < s.paired_difference([a[0] + 0.006, *a[1:]], b).p < 0.05


def test_a_difference_without_a_test_leaves_its_family_smaller() -> None:
    assert s.holm([math.nan, 0.02, 0.04])[1] == pytest.approx(0.04)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_with_bonferroni(p: list[float]) -> None:
    everyone = range(len(p))
    subsets = [c for size in range(1, len(p) + 1) for c in combinations(everyone, size)]
    closed = [max(min(1.0, len(c) * min(p[j] for j in c)) for c in subsets if i in c) for i in everyone]
    assert s.holm(p) == pytest.approx(closed)


def test_holm_leaves_out_what_has_no_p() -> None:
    adjusted = s.holm([0.01, math.nan, 0.04])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.04)


def test_interquartile_mean() -> None:
    scores = np.random.default_rng(4).normal(size=(8, 3))
    got = s.interquartile_mean(scores)
    assert got.mean == pytest.approx(np.sort(scores.ravel())[6:18].mean())
    assert got.low < got.mean < got.high
    assert s.interquartile_mean([1.0, 2.0, 3.0, 100.0]).mean == 2.5
    assert math.isnan(s.interquartile_mean([[1.0, 2.0]]).low)


def test_interquartile_bootstrap_keeps_the_tasks() -> None:
    # Two tasks without spread: every stratified resample is the sample itself.
    got = s.interquartile_mean(np.tile([0.0, 1.0], (6, 1)))
    assert (got.low, got.high) == (got.mean, got.mean)


@pytest.mark.parametrize(
    ("a", "b", "higher", "expected"),
    [
        ([1.0, 1.1, 1.2, 1.1], [0.0] * 4, True, "not enough seeds"),
        ([1.0, 1.1, 1.2, 1.1, 1.0], [0.0] * 5, True, "ahead"),
        ([1.0, 1.1, 1.2, 1.1, 1.0], [0.0] * 5, False, "behind"),
        ([-1.0, -1.1, -1.2, -1.1, -1.0], [0.0] * 5, False, "ahead"),
        ([1.0, -1.1, 1.2, -1.1, 0.1], [0.0] * 5, True, "no significant difference"),
    ],
)
def test_verdict(a: list[float], b: list[float], higher: bool, expected: str) -> None:
    difference = s.paired_difference(a, b)
    assert s.verdict(difference, difference.p, higher) == expected


def test_the_rate_of_false_claims_is_bounded() -> None:
    rng = np.random.default_rng(5)
    said = []
    for _ in range(400):
        d = s.paired_difference(rng.normal(size=5), rng.normal(size=5))
        said.append(s.verdict(d, d.p) in ("ahead", "behind"))
    assert np.mean(said) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_missing_combinations_are_listed() -> None:
    runs = pd.DataFrame({"variant": ["a", "a", "b"], "condition": [""] * 3, "seed": [0, 1, 0]})
    assert s.missing_combinations(runs) == [("b", "", 1)]
    assert s.missing_combinations(runs, [1.0, math.nan, 2.0]) == [("a", "", 1), ("b", "", 1)]
    assert s.missing_combinations(runs.iloc[:0]) == []
