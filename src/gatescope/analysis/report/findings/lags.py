"""The title of a study of several lags: the longest lag that each variant learns."""

from __future__ import annotations

from gatescope.analysis import style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.report.numbers import join_words
from gatescope.analysis.statistics import MIN_SEEDS


def learnt(comparison: Comparison) -> dict[str, float]:
    """Return the longest lag that each variant learns with all shorter ones; 0 where it learns none.

    A lag is learnt where the interval of the share of seeds that solve the task lies above one half. Empty
    where a study declares no `study.solved`, or has fewer than two lags or too few seeds.
    """
    found, runs = comparison.outcomes, comparison.contenders.runs
    by_lag = runs.dropna(subset=["lag"]).drop_duplicates("lag").sort_values("lag")
    if found is None or len(by_lag) < 2 or min(one.seeds for one in found.shares.values()) < MIN_SEEDS:
        return {}
    longest: dict[str, float] = {}
    for variant in style.order(runs.variant):
        longest[variant] = 0.0
        for lag, condition in zip(by_lag.lag, by_lag.condition, strict=True):
            share = found.shares.get((variant, condition))
            if share is None or share.low <= 0.5:
                break
            longest[variant] = float(lag)
    return longest


def title(comparison: Comparison) -> str:
    """Return which variants learn which lag; "" where `learnt` is empty.

    A variant that does not learn the shortest lag is undecided unless the interval of its share of seeds lies
    below one half.
    """
    longest = learnt(comparison)
    if not longest:
        return ""
    runs = comparison.contenders.runs.dropna(subset=["lag"])
    first = runs.sort_values("lag").iloc[0]
    shares = comparison.outcomes.shares if comparison.outcomes else {}
    clauses = []
    for lag in sorted({lag for lag in longest.values() if lag}, reverse=True):
        clauses.append(_clause([v for v, own in longest.items() if own == lag], f"a lag of {lag:g} steps"))
    none = [variant for variant, own in longest.items() if not own]
    open_ones = [
        v for v in none if (v, first.condition) not in shares or shares[v, first.condition].high > 0.5
    ]
    if never := [variant for variant in none if variant not in open_ones]:
        clauses.append(_clause(never, f"not even a lag of {first.lag:g}"))
    if open_ones:
        clauses.append(f"whether {_clause(open_ones, f'a lag of {first.lag:g}')} is undecided")
    return words.capital("; ".join(clauses))


def _clause(variants: list[str], what: str) -> str:
    """Return "GRU learns a lag of 30 steps"."""
    names = join_words(words.prose(variant) for variant in variants)
    return f"{names} {'learns' if len(variants) == 1 else 'learn'} {what}"
