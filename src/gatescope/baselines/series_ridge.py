"""Statistics of a series and the series at a few moments, then ridge regression on standardised columns."""

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

STRENGTHS = np.logspace(-3, 4, 15)


class SeriesRidge(Baseline):
    """One real value a sequence. The strength of the penalty is chosen by leave-one-out error on train.

    Args:
        statistics: mean, deviation, extremes, ends and mean step of each feature.
        points: moments at which the series is read, evenly from its first step to its last; 0 for none.
    """

    def __init__(self, statistics: bool = True, points: Annotated[int, Field(ge=0)] = 64) -> None:
        self.summary = Summary(statistics, points)
        self.pipeline = make_pipeline(StandardScaler(), RidgeCV(STRENGTHS))

    def fit(self, examples: Examples, task: TaskSpec) -> None:
        if task.kind != "regression" or not isinstance(examples.targets, Tensor):
            raise ValueError(
                f"model=series_ridge gives one real value a sequence, and these data ask for a {task.kind}: "
                "choose model=series_logistic or model=majority"
            )
        self.pipeline.fit(self.summary.split(examples, task, "series_ridge"), examples.targets.numpy())

    def predict(self, batch: Batch) -> Tensor:
        return torch.from_numpy(self.pipeline.predict(self.summary.batch(batch))).float()[:, None]

    @property
    def parameters(self) -> int:
        return int(self.pipeline[-1].coef_.size) + 1
