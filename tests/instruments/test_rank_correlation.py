"""Kendall's τ against scipy, and its spread under independence."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gatescope.instruments.rank_correlation import dense_ranks, kendall_tau, permuted_variance


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=9),
        min_size=1,
        max_size=4,
    )
)
@settings(deadline=None, max_examples=40)
def test_kendall_tau_equals_scipy(rows: list[list[tuple[int, int]]]) -> None:
    longest = max(map(len, rows))
    a, b = (torch.full((len(rows), longest), math.nan) for _ in range(2))
    for i, row in enumerate(rows):
        for t, (x, y) in enumerate(row):
            a[i, t], b[i, t] = x, y
    found = kendall_tau(a, b, a.isfinite())
    for got, row in zip(found.tolist(), rows, strict=True):
        expected = stats.kendalltau(*zip(*row, strict=True)).statistic
        assert got == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("ties", [False, True])
def test_the_variance_is_that_over_all_permutations(ties: bool) -> None:
    a = torch.tensor([0.0, 1.0, 1.0, 1.0, 2.0, 2.0] if ties else [3.0, 0.0, 1.0, 5.0, 2.0, 4.0])
    b = torch.tensor([1.0, 1.0, 0.0, 2.0, 2.0, 0.0] if ties else [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    orders = torch.tensor(list(permutations(range(6))))
    everywhere = torch.ones(len(orders), 6, dtype=torch.bool)
    tau = kendall_tau(a[orders], b.expand(len(orders), -1), everywhere)
    assert tau.mean().item() == pytest.approx(0, abs=1e-12)
    # A seventh position outside of the mask changes nothing.
    row = [torch.cat([x, x[:1]])[None] for x in (a, b)]
    mask = torch.arange(7)[None] < 6
    assert permuted_variance(*row, mask).item() == pytest.approx(tau.var(correction=0).item())
    if not ties:
        assert tau.var(correction=0).item() == pytest.approx(2 * (2 * 6 + 5) / (9 * 6 * 5))


def test_differences_within_rounding_errors_are_ties() -> None:
    values = torch.tensor([[0.3, 0.1, 0.1 + 1e-8, 5.0, 0.1 - 1e-8]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True, False, True]])
    ranks = dense_ranks(values, mask, torch.tensor([1e-7]))
    assert ranks[mask].tolist() == [1, 0, 0, 0]
    exact = dense_ranks(values, mask, torch.tensor([0.0]))[mask]
    assert (exact + 1).tolist() == stats.rankdata(values[mask], "dense").tolist()
