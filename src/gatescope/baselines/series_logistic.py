"""Logistic regression on features of a series that need no recurrence.

One class per sequence: from its statistics and its values at a few time points, standardised. Several labels
per time step (polyphonic music): each label of the next step from all labels of this step, which is a Markov
chain of order one, fitted label by label.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from gatescope.baselines.base import UNSEEN, Baseline, class_targets, logits
from gatescope.baselines.series import Summary
from gatescope.data.examples import Examples
from gatescope.data.ragged import Ragged
from gatescope.sequences import Batch, TaskSpec


class SeriesLogistic(Baseline):
    """Classification of series, or prediction of the labels of the next time step.

    Args:
        statistics: mean, deviation, extremes, ends and mean difference of each feature.
        points: number of evenly spaced time points, from the first step to the last; 0 for none.
        C: inverse strength of the L2 penalty.
    """

    task: TaskSpec

    def __init__(
        self,
        statistics: bool = True,
        points: Annotated[int, Field(ge=0)] = 64,
        C: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        self.summary, self.C = Summary(statistics, points), C
        self.labels: list[LogisticRegression | DummyClassifier] = []
        self.pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=2000))

    def fit(self, examples: Examples, task: TaskSpec) -> None:
        """Fit the regression, or one per label of the next time step."""
        self.task = task
        if task.kind == "next_step":
            self._fit_steps(examples)
            return
        classes = class_targets(examples, task, "series_logistic")
        self.pipeline.fit(self.summary.split(examples, task, "series_logistic"), classes)

    def _fit_steps(self, examples: Examples) -> None:
        targets = examples.targets
        assert isinstance(examples.inputs, Ragged)
        if not isinstance(targets, Ragged) or not targets.flat.is_floating_point():
            raise ValueError(
                "model=series_logistic predicts several labels per step, and these data have one symbol: "
                "choose model=majority"
            )
        now, following = examples.inputs.flat.numpy(), targets.flat.numpy()
        self.labels = [self._fit_label(now, column) for column in following.T]

    def _fit_label(self, now: np.ndarray, column: np.ndarray) -> LogisticRegression | DummyClassifier:
        """Fit one label; a label that is constant in train is predicted as constant."""
        if len(np.unique(column)) == 1:
            return DummyClassifier().fit(now, column)
        return LogisticRegression(C=self.C, solver="newton-cholesky", max_iter=100).fit(now, column)

    def predict(self, batch: Batch) -> Tensor:
        """Return logits: (B, K), or (B, T, K) for labels of the next time step."""
        if not self.labels:
            log_probabilities = self.pipeline.predict_log_proba(self.summary.batch(batch))
            return logits(log_probabilities, self.pipeline[-1].classes_, self.task)
        steps = batch.inputs.flatten(0, 1).numpy()
        columns = [label.predict_proba(steps) @ label.classes_ for label in self.labels]
        clamped = torch.from_numpy(np.stack(columns, axis=1)).clamp(UNSEEN, 1 - UNSEEN)
        return torch.logit(clamped).float().unflatten(0, batch.inputs.shape[:2])

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        fitted = [m for m in self.labels or [self.pipeline[-1]] if isinstance(m, LogisticRegression)]
        return sum(int(model.coef_.size + model.intercept_.size) for model in fitted)
