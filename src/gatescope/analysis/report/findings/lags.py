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
    """Return which variants learn which lag; "" where `learnt` is empty."""
    longest = learnt(comparison)
    if not longest:
        return ""
    shortest = float(comparison.contenders.runs.lag.min())
    clauses = []
    for lag in sorted(set(longest.values()), reverse=True):
        names = [words.prose(variant) for variant, own in longest.items() if own == lag]
        verb = "learns" if len(names) == 1 else "learn"
        what = f"a lag of {lag:g} steps" if lag else f"not even a lag of {shortest:g}"
        clauses.append(f"{join_words(names)} {verb} {what}")
    return words.capital("; ".join(clauses))
