"""Kendall's τ against scipy, and its spread under independence."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gatescope.instruments.rank_correlation import kendall_tau, null_spread


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


def test_null_spread_equals_that_of_independent_values() -> None:
    generator = torch.Generator().manual_seed(0)
    for n in (5, 12):
        a, b = (torch.rand(4000, n, generator=generator) for _ in range(2))
        tau = kendall_tau(a, b, torch.ones(4000, n, dtype=torch.bool))
        assert tau.std().item() == pytest.approx(null_spread(torch.tensor(n)).item(), rel=0.05)
