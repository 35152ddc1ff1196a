"""Whether the reach of the gradient before training predicts which runs solve their task.

A logistic model P(solved) = σ(a + b·ln(reach / lag)) is fitted to all runs of a study. What it predicts for
an architecture is judged with a model that has not seen that architecture, beside a model that knows the lag
alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from gatescope.analysis import gradient_flow, style
from gatescope.analysis.gradient_flow import START, ends
from gatescope.analysis.outcomes import solved_runs
from gatescope.analysis.tables import NoData, Tables

RELATIVE, LAG = "relative_reach", "log_lag"
"""Columns of a predictor: ln(reach / lag), and ln lag."""
LEAST_REACH = 0.5
"""Reach in steps of a gradient that does not get to the step before, whose logarithm is needed."""


@dataclass(frozen=True)
class HeldOut:
    """What a model predicts for an architecture that it has not seen.

    Attributes:
        variant: The architecture.
        runs: Number of its runs.
        solved: Number of those that solve the task.
        predicted: Mean predicted probability, from the reach.
        brier: Mean squared error of the predicted probabilities, from the reach.
        brier_of_lag: The same of the model that knows the lag alone.
    """

    variant: str
    runs: int
    solved: int
    predicted: float
    brier: float
    brier_of_lag: float


@dataclass(frozen=True)
class Horizon:
    """How well the reach before training predicts what is learnt.

    Attributes:
        runs: A row per run: run_id, variant, condition, lag, reach, relative_reach, log_lag, solved.
        auc: Area under the ROC curve of ln(reach / lag) over all runs.
        auc_within: The same between runs of one lag, the mean over lags by number of pairs; NaN where at no
            lag some runs solve the task and some do not.
        held_out: By architecture.
        lost: Runs without a reach before training, which are left out.
        model: The logistic model of all runs.
    """

    runs: pd.DataFrame
    auc: float
    auc_within: float
    held_out: tuple[HeldOut, ...]
    lost: int
    model: Pipeline

    @property
    def brier(self) -> float:
        """Mean squared error over all runs, each predicted by a model without its architecture."""
        return self._mean([one.brier for one in self.held_out])

    @property
    def brier_of_lag(self) -> float:
        """The same of models that know the lag alone."""
        return self._mean([one.brier_of_lag for one in self.held_out])

    def probability(self, relative_reach: np.ndarray) -> np.ndarray:
        """Return the probability that a run solves its task, at values of ln(reach / lag)."""
        probability: np.ndarray = self.model.predict_proba(relative_reach[:, None])[:, 1]
        return probability

    def _mean(self, values: list[float]) -> float:
        return float(np.average(values, weights=[one.runs for one in self.held_out]))


def horizon(tables: Tables) -> Horizon:
    """Predict from the reach before training which runs solve the task.

    Args:
        tables: The runs that are compared, without baselines.

    Raises:
        NoData: The study does not declare `study.solved`, no run has a lag and a reach before training, all
            or no runs solve the task, or there are fewer than three architectures.
    """
    solved = solved_runs(tables)
    if solved is None:
        raise NoData("the study does not say when a run has solved its task (study.solved)")
    start = ends(gradient_flow.measurements(tables, "loss_free_reach"))[START]
    reach = start.drop_duplicates("run_id").set_index("run_id").value
    runs = solved.dropna(subset=["lag"]).assign(reach=lambda one: reach.reindex(one.run_id).to_numpy())
    known = runs.dropna(subset=["reach"])
    if known.solved.nunique() < 2:
        raise NoData("all runs, or none, solve the task: nothing is to be predicted")
    if known.variant.nunique() < 3:
        raise NoData("fewer than three architectures: none can be left out")
    known = known.assign(
        relative_reach=np.log(known.reach.clip(lower=LEAST_REACH) / known.lag), log_lag=np.log(known.lag)
    )
    return Horizon(
        known,
        float(roc_auc_score(known.solved, known[RELATIVE])),
        _auc_within(known),
        tuple(_held_out(known)),
        len(runs) - len(known),
        _fit(known, RELATIVE),
    )


def _auc_within(runs: pd.DataFrame) -> float:
    """Return the share of pairs of equal lag, one solved and one not, that the reach orders."""
    ordered = total = 0.0
    for _, own in runs.groupby("lag"):
        if own.solved.nunique() == 2:
            pairs = int(own.solved.sum()) * int((~own.solved).sum())
            ordered += pairs * float(roc_auc_score(own.solved, own[RELATIVE]))
            total += pairs
    return ordered / total if total else math.nan


def _held_out(runs: pd.DataFrame) -> Iterator[HeldOut]:
    for variant in style.order(runs.variant):
        own, others = runs[runs.variant == variant], runs[runs.variant != variant]
        predicted = {column: _predict(others, own, column) for column in (RELATIVE, LAG)}
        errors = {column: float(brier_score_loss(own.solved, one)) for column, one in predicted.items()}
        mean = float(predicted[RELATIVE].mean())
        yield HeldOut(variant, len(own), int(own.solved.sum()), mean, errors[RELATIVE], errors[LAG])


def _predict(seen: pd.DataFrame, unseen: pd.DataFrame, column: str) -> np.ndarray:
    if seen.solved.nunique() < 2:  # the model of a constant
        return np.full(len(unseen), float(seen.solved.iloc[0]))
    probability: np.ndarray = _fit(seen, column).predict_proba(unseen[[column]].to_numpy())[:, 1]
    return probability


def _fit(runs: pd.DataFrame, column: str) -> Pipeline:
    # Outcomes without overlap have no maximum of the likelihood: scikit-learn's penalty bounds the slope.
    model = make_pipeline(StandardScaler(), LogisticRegression())
    return model.fit(runs[[column]].to_numpy(), runs.solved)
