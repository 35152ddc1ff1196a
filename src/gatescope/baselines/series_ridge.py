"""Ridge regression on the statistics of a series and its values at a few time points, standardised."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from gatescope.baselines.base import Baseline
from gatescope.baselines.series import Summary
from gatescope.data.examples import Examples
from gatescope.sequences import Batch, TaskSpec

PENALTIES = np.logspace(-3, 4, 15)
"""Strengths of the penalty that are tried."""


class SeriesRidge(Baseline):
    """Regression on one real value per sequence; leave-one-out error on train selects the penalty.

    Args:
        statistics: mean, deviation, extremes, ends and mean difference of each feature.
        points: number of evenly spaced time points, from the first step to the last; 0 for none.
    """

    def __init__(self, statistics: bool = True, points: Annotated[int, Field(ge=0)] = 64) -> None:
        self.summary = Summary(statistics, points)
        self.pipeline = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))

    def fit(self, examples: Examples, task: TaskSpec) -> None:
        """Fit the regression."""
        if task.kind != "regression" or not isinstance(examples.targets, Tensor):
            raise ValueError(
                f"model=series_ridge predicts one real value per sequence, and these data are a {task.kind}: "
                "choose model=series_logistic or model=majority"
            )
        self.pipeline.fit(self.summary.split(examples, task, "series_ridge"), examples.targets.numpy())

    def predict(self, batch: Batch) -> Tensor:
        """Return values (B, K)."""
        values = torch.from_numpy(self.pipeline.predict(self.summary.batch(batch))).float()
        return values[:, None] if values.dim() == 1 else values

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return int(self.pipeline[-1].coef_.size + np.size(self.pipeline[-1].intercept_))
