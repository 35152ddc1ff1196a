"""Results that are one of two outcomes: a run solves its task, or it does not.

Where every run ends near chance or near perfection, a mean over seeds describes no run, and its t interval
covers the truth far too rarely. A study then declares when a run counts as solved:

    study:
      solved: {metric: test/accuracy, at: 0.9}

and reports the number of seeds that solve it, with the interval of Clopper & Pearson (1934), and the lag
at which half of the seeds would.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special, stats

from gatescope.analysis import study
from gatescope.analysis.intervals import clopper_pearson
from gatescope.analysis.statistics import LEVEL
from gatescope.analysis.tables import Tables

STEEPEST = 50.0
"""Steepest logistic curve over log lag that is fitted; outcomes without overlap have no steepest one."""
GRID = 400
"""Values of T₅₀ at which the likelihood is computed."""


@dataclass(frozen=True)
class SolvedShare:
    """How many seeds solve a task.

    Attributes:
        solved: number of seeds that do.
        seeds: number of seeds with a result.
        low: lower bound of the probability that a seed does.
        high: upper bound.
    """

    solved: int
    seeds: int
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.solved} of {self.seeds} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class HalfLag:
    """The lag T₅₀ at which half of the seeds solve the task.

    Attributes:
        lag: the estimate; infinite where all seeds solve the task at every lag, 0 where none does at any.
        low: lower bound; 0 where the lags do not bound it.
        high: upper bound; infinite where the lags do not bound it.
    """

    lag: float
    low: float
    high: float


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of a study.

    Attributes:
        metric: the metric that decides.
        at: its value from which a run counts as solved.
        shares: by variant and condition.
        half_lags: by variant; empty for a study of fewer than two lags.
        steps: by variant and condition, the median number of steps at which the metric on validation first
            is at that value; infinite where fewer than half of the seeds get there.
    """

    metric: str
    at: float
    shares: dict[tuple[str, str], SolvedShare]
    half_lags: dict[str, HalfLag]
    steps: dict[tuple[str, str], float]


def study_outcomes(tables: Tables) -> Outcomes | None:
    """Return the outcomes of the runs of a study; None where it does not declare `study.solved`.

    Args:
        tables: the runs that are compared, without baselines.
    """
    final = solved_runs(tables)
    if final is None:
        return None
    metric, at = _criterion(tables)
    higher = study.higher_is_better(tables, metric)
    shares, steps = {}, {}
    for (variant, condition), own in final.groupby(["variant", "condition"]):
        key = (str(variant), str(condition))
        shares[key] = solved_share(own.value, at, higher)
        steps[key] = _median_steps(tables, own.run_id, metric.replace("test/", "validation/", 1), at, higher)
    half_lags = {
        str(variant): half_lag(own.lag, own.solved)
        for variant, own in final.dropna(subset=["lag"]).groupby("variant")
        if own.lag.nunique() > 1
    }
    return Outcomes(metric, at, shares, half_lags, steps)


def solved_runs(tables: Tables) -> pd.DataFrame | None:
    """Return the final value of each run that has one, with the columns `lag` and `solved`.

    Args:
        tables: the runs that are compared, without baselines.

    Returns:
        None where the study does not declare `study.solved`.
    """
    if not tables.study.get("solved"):
        return None
    metric, at = _criterion(tables)
    final = tables.final(metric)
    final = final.assign(lag=tables.runs.set_index("run_id").lag.reindex(final.run_id).to_numpy())
    final = final.dropna(subset=["value"])
    higher = study.higher_is_better(tables, metric)
    return final.assign(solved=final.value >= at if higher else final.value <= at)


def _criterion(tables: Tables) -> tuple[str, float]:
    """Return the metric that decides whether a run has solved its task, and its value."""
    declared = tables.study["solved"]
    return str(declared["metric"]), float(declared["at"])


def _median_steps(tables: Tables, run_ids: Iterable[str], metric: str, at: float, higher: bool) -> float:
    curves = tables.metric(metric).dropna(subset=["value"])
    own = curves[curves.run_id.isin(set(run_ids))]
    firsts = [first_reached(run.set_index("step").value, at, higher) for _, run in own.groupby("run_id")]
    if not firsts:
        return math.nan
    steps, reached = zip(*firsts, strict=True)
    return steps_to_criterion(steps, reached)


def solved_share(values: ArrayLike, at: float, higher_is_better: bool = True) -> SolvedShare:
    """Count the seeds that solve a task.

    Args:
        values: the metric of each seed. Values that are not finite are ignored.
        at: value from which a run counts as solved.
        higher_is_better: direction of the metric.
    """
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    solved = int((x >= at).sum() if higher_is_better else (x <= at).sum())
    low, high = clopper_pearson(solved, len(x)) if len(x) else (0.0, 1.0)
    return SolvedShare(solved, len(x), low, high)


def half_lag(lags: ArrayLike, solved: ArrayLike, level: float = LEVEL) -> HalfLag:
    """Fit P(solved) = σ(slope · (ln T₅₀ − ln lag)) by maximum likelihood, with the profile interval of T₅₀.

    Args:
        lags: lag of each run, shape (runs,), positive.
        solved: whether it solved the task, shape (runs,).
        level: confidence level.
    """
    x, y = np.log(np.asarray(lags, dtype=float)), np.asarray(solved, dtype=bool)
    if not len(x):
        return HalfLag(math.nan, 0.0, math.inf)
    margin = max(float(np.ptp(x)), 1.0)
    middles = np.linspace(x.min() - margin, x.max() + margin, GRID)
    slopes = np.geomspace(0.2, STEEPEST, 80)
    logits = slopes[:, None, None] * (middles[None, :, None] - x[None, None, :])
    likelihood = np.where(y, special.log_expit(logits), special.log_expit(-logits)).sum(-1).max(0)
    best = likelihood.max()
    inside = likelihood >= best - stats.chi2.ppf(level, 1) / 2
    top = middles[likelihood >= best - 1e-6]
    low = math.exp(middles[inside][0]) if not inside[0] else 0.0
    high = math.exp(middles[inside][-1]) if not inside[-1] else math.inf
    if y.all() or not y.any():
        return HalfLag(math.inf if y.all() else 0.0, low, high)
    return HalfLag(math.exp(float(top.mean())), low, high)


def steps_to_criterion(steps: ArrayLike, reached: ArrayLike) -> float:
    """Return the median number of steps to a criterion; seeds that do not reach it are censored.

    Args:
        steps: of each seed: the step at which it reached the criterion, or its last step if it did not.
        reached: whether it did.

    Returns:
        The median of the survival function of Kaplan & Meier (1958); infinite where fewer than half of the
        seeds reach the criterion.
    """
    x, known = np.asarray(steps, dtype=float), np.asarray(reached, dtype=bool)
    if not known.any():
        return math.inf
    data = stats.CensoredData(uncensored=x[known], right=x[~known])
    survival = stats.ecdf(data).sf
    below = survival.quantiles[survival.probabilities <= 0.5]
    return float(below[0]) if len(below) else math.inf


def first_reached(curve: pd.Series, at: float, higher_is_better: bool = True) -> tuple[float, bool]:
    """Return the first step at which a curve reaches a value, or its last step and False.

    Args:
        curve: values by step, in order.
        at: the value.
        higher_is_better: direction of the metric.
    """
    is_there = curve >= at if higher_is_better else curve <= at
    reached = curve.index[is_there]
    return (float(reached[0]), True) if len(reached) else (float(curve.index[-1]), False)
