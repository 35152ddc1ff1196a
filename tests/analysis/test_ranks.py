"""Ranks over datasets, against published tables, SciPy, and values of scikit-posthocs and statsmodels."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gatescope.analysis.statistics import ranks as r

DEMSAR = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 10: 3.164}
"""Critical values of Nemenyi's test at 0.05 (Demšar 2006, table 5)."""


def scores(datasets: int = 13) -> pd.DataFrame:
    values = np.random.default_rng(0).normal(size=(datasets, 4)) + np.arange(4) * 0.6
    return pd.DataFrame(values, columns=list("abcd"))


def test_the_critical_difference_has_the_published_values() -> None:
    for count, value in DEMSAR.items():
        difference = r.critical_difference(count, 30)
        assert difference == pytest.approx(value * math.sqrt(count * (count + 1) / 180), rel=1e-3)


def test_p_values_equal_those_of_other_packages() -> None:
    found = r.compare_ranks(scores())
    pairs = {(one.a, one.b): one for one in found.pairs.itertuples()}
    # posthoc_nemenyi_friedman of scikit-posthocs 0.17.1; multipletests(…, "holm") of statsmodels 0.15.0
    nemenyi = {("d", "c"): 0.10300, ("d", "b"): 0.04824, ("d", "a"): 0.00003, ("c", "b"): 0.99027}
    holm = {("d", "c"): 0.01025, ("d", "b"): 0.01025, ("d", "a"): 0.00732, ("c", "b"): 0.14648}
    for pair in nemenyi:
        assert pairs[pair].nemenyi == pytest.approx(nemenyi[pair], abs=1e-5)
        assert pairs[pair].wilcoxon == pytest.approx(holm[pair], abs=1e-5)
    assert found.p == stats.friedmanchisquare(*scores().to_numpy().T).pvalue
    assert found.groups == [("d", "c"), ("c", "b", "a")]
    for a, b in combinations(found.ranks.index, 2):  # a group holds exactly the pairs that do not differ
        together = any({a, b} <= set(group) for group in found.groups)
        assert together == (pairs[a, b].nemenyi > 0.05)


def test_a_family_of_equal_variants_is_seldom_told_apart() -> None:
    rng = np.random.default_rng(1)
    difference, claims = r.critical_difference(4, 12), []
    for _ in range(300):
        table = pd.DataFrame(rng.normal(size=(12, 4)))
        wilcoxon = [r.wilcoxon_p(table[a], table[b]) for a, b in combinations(table, 2)]
        claims.append([np.ptp(r.mean_ranks(table)) >= difference, r.holm(wilcoxon).min() < 0.05])
    assert np.mean(claims, axis=0).max() <= 0.08


def test_ties_two_variants_and_scales() -> None:
    equal = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]})
    found = r.compare_ranks(equal)
    assert list(found.ranks) == [1.5, 1.5]
    assert math.isnan(found.p)
    assert list(found.pairs.wilcoxon) == [1.0]
    assert found.groups == [("a", "b")]
    # Only the normalised scores decide Wilcoxon's test; a dataset without them counts for ranks alone.
    wide = scores() * np.geomspace(1, 1e6, 13)[:, None]
    normalised = scores()
    normalised.loc[12] = np.nan
    found = r.compare_ranks(wide, normalised)
    same = r.compare_ranks(scores(), normalised)
    assert list(found.pairs.wilcoxon) == list(same.pairs.wilcoxon)
    assert list(found.ranks) == list(r.compare_ranks(scores()).ranks)
