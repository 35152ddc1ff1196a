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


@pytest.mark.parametrize(
    ("seeds", "tasks"),
    [(5, 1), pytest.param(5, 4, marks=pytest.mark.slow), pytest.param(8, 4, marks=pytest.mark.slow)],
)
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
        alone = s.paired_difference(table[name], table["rnn"])
        family = s.paired_difference(table[name], table["rnn"], 0.975)  # Bonferroni for two comparisons
        assert (row["mean"], row.n) == (alone.estimate.mean, len(alone.seeds))
        assert row.p == pytest.approx(min(1.0, 2 * alone.p))
        assert (row.low, row.high) == pytest.approx((family.estimate.low, family.estimate.high))
    assert list(got.verdict) == ["ahead", s.UNDECIDED]
    assert s.compare_with_reference(table, "rnn", higher_is_better=False).verdict["gru"] == "behind"


def test_superiority_counts_ties_half() -> None:
    assert s.superiority([3, 2, 1, 0], [1, 2, 3, -1]) == (1 + 0.5 + 0 + 1) / 4
    assert math.isnan(s.superiority([], []))


def test_constant_differences() -> None:
    same = s.paired_difference([1.0] * 5, [1.0] * 5)
    assert same.p == 1.0
    assert s.verdict(same) == s.UNDECIDED
    assert s.verdict(same, margin=0.1) == s.EQUIVALENT
    apart = s.paired_difference([2.0] * 5, [1.0] * 5)
    assert math.isnan(apart.p)
    assert math.isnan(apart.estimate.low)
    assert s.verdict(apart) == s.NO_SPREAD


def test_differences_alike_to_rounding_have_no_test() -> None:
    # Accuracies of float32 on 1,000 items that differ by exactly seven of them.
    right = np.array([801, 813, 822, 790, 805])
    a, b = (list((right + more).astype(np.float32) / np.float32(1000)) for more in (7, 0))
    difference = s.paired_difference(a, b)
    assert len(set(np.subtract(a, b))) > 1, "rounding makes them unequal"
    assert math.isnan(difference.p)
    # Six more items in one seed give a spread.
    assert 0 < s.paired_difference([a[0] + 0.006, *a[1:]], b).p < 0.05


def named(values: list[float], name: str) -> pd.Series:
    return pd.Series(values, name=name)


def test_a_difference_without_a_test_leaves_its_family_smaller() -> None:
    apart = (named([2.0] * 5, "a"), named([1.0] * 5, "b"), None)
    tested = (named([1.0, 2.0, 3.0, 4.0, 6.0], "a"), named([0.0, 1.5, 2.0, 3.5, 4.0], "b"), None)
    family = s.compare_family([apart, tested])
    assert family.tests == 1
    alone = s.paired_difference(*tested[:2]).estimate
    found = family.differences[1].estimate
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))
    assert s.compare_family([tested], tests=6).differences[0] == s.paired_difference(
        *tested[:2], 1 - 0.05 / 6
    )


@pytest.mark.slow
def test_simultaneous_intervals_hold_together() -> None:
    rng = np.random.default_rng(10)
    hold = 0
    for _ in range(400):
        common = rng.normal(0, 1, 5)
        variants = [named(list(common + rng.normal(0, 0.5, 5)), f"v{k}") for k in range(5)]
        family = s.compare_family([(one, variants[0], None) for one in variants[1:]])
        hold += all(one.estimate.low <= 0 <= one.estimate.high for one in family.differences)
    assert 0.94 <= hold / 400 <= 0.995


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
        ([1.0, -1.1, 1.2, -1.1, 0.1], [0.0] * 5, True, "undecided"),
    ],
)
def test_verdict(a: list[float], b: list[float], higher: bool, expected: str) -> None:
    difference = s.paired_difference(a, b)
    assert s.verdict(difference, higher_is_better=higher) == expected


numbers = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=5, max_size=9)


@settings(deadline=None, max_examples=100)
@given(numbers, st.integers(1, 20), st.one_of(st.none(), st.floats(0.01, 1)))
def test_a_verdict_is_that_of_the_interval_beside_it(
    d: list[float], tests: int, margin: float | None
) -> None:
    one = s.paired_difference(d, [0.0] * len(d), 1 - 0.05 / tests)
    if math.isnan(one.p) or one.p == 1.0:
        return
    got = s.verdict(one, tests, margin=margin)
    assert (got in (s.AHEAD, s.BEHIND)) == (not one.estimate.low <= 0 <= one.estimate.high)
    if got == s.AHEAD:
        assert one.estimate.low > 0
    end = margin or 0.0
    one_sided = (
        stats.ttest_1samp(d, -end, alternative="greater").pvalue,
        stats.ttest_1samp(d, end, alternative="less").pvalue,
    )
    is_within = margin is not None and max(one_sided) < 0.05 / tests
    if got not in (s.AHEAD, s.BEHIND):
        assert (got == s.EQUIVALENT) == is_within


@pytest.mark.parametrize("margin", [None, 0.6])
def test_the_number_of_seeds_decides_with_the_stated_power(margin: float | None) -> None:
    """Simulated with the estimates as the truth."""
    rng = np.random.default_rng(11)
    d = np.array([0.9, -0.5, 0.6, 0.1, -0.6]) + (0.35 if margin is None else 0)
    one = s.paired_difference(d, np.zeros(5), 1 - 0.05 / 3)
    n = s.seeds_to_decide(one, 3, margin)
    assert n is not None
    assert n > 5
    draws = rng.normal(d.mean(), d.std(ddof=1), (400, n))
    found = [s.verdict(s.paired_difference(x, np.zeros(n), 1 - 0.05 / 3), 3, margin=margin) for x in draws]
    decided = np.mean([one != s.UNDECIDED for one in found])
    assert 0.73 <= decided <= 0.9


def test_no_number_of_seeds_makes_up_for_a_small_test_set() -> None:
    d = [0.01, 0.02, 0.0, 0.015, 0.005]
    assert s.seeds_to_decide(s.paired_difference(d, [0.0] * 5, items=s.ItemVariance(0.01**2, 100))) is None
    assert s.seeds_to_decide(s.paired_difference(d, [0.0] * 5, items=s.ItemVariance(1e-8, 100))) == 7


def test_the_rate_of_false_claims_is_bounded() -> None:
    rng = np.random.default_rng(5)
    said = []
    for _ in range(400):
        d = s.paired_difference(rng.normal(size=5), rng.normal(size=5))
        said.append(s.verdict(d) in ("ahead", "behind"))
    assert np.mean(said) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_missing_combinations_are_listed() -> None:
    runs = pd.DataFrame({"variant": ["a", "a", "b"], "condition": [""] * 3, "seed": [0, 1, 0]})
    assert s.missing_combinations(runs) == [("b", "", 1)]
    assert s.missing_combinations(runs, [1.0, math.nan, 2.0]) == [("a", "", 1), ("b", "", 1)]
    assert s.missing_combinations(runs.iloc[:0]) == []
