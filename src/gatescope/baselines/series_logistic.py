"""Logistic regression on what can be said of a series without recurrence.

One class a sequence: from its statistics and its values at a few moments, standardised. Several labels a step
(polyphonic music): each label of the next step from all labels of this one, which is a Markov chain of order
one, fitted a label at a time.
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

from gatescope.baselines.base import NEVER, Baseline, class_targets, logits
from gatescope.baselines.series import Summary
from gatescope.data.examples import Examples
from gatescope.data.ragged import Ragged
from gatescope.sequences import Batch, TaskSpec


class SeriesLogistic(Baseline):
    """Classes of series, or the labels of the next step.

    Args:
        statistics: mean, deviation, extremes, ends and mean step of each feature.
        points: moments at which the series is read, evenly from its first step to its last; 0 for none.
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
                "model=series_logistic gives several labels a step, these data ask for one symbol: "
                "choose model=majority"
            )
        now, following = examples.inputs.flat.numpy(), targets.flat.numpy()
        self.labels = [self._label(now, column) for column in following.T]

    def _label(self, now: np.ndarray, column: np.ndarray) -> LogisticRegression | DummyClassifier:
        """A label that train holds never, or always, has that as its answer."""
        if len(np.unique(column)) == 1:
            return DummyClassifier().fit(now, column)
        return LogisticRegression(C=self.C, solver="newton-cholesky", max_iter=100).fit(now, column)

    def predict(self, batch: Batch) -> Tensor:
        if not self.labels:
            found = self.pipeline.predict_log_proba(self.summary.batch(batch))
            return logits(found, self.pipeline[-1].classes_, self.task)
        steps = batch.inputs.flatten(0, 1).numpy()
        on = np.stack([label.predict_proba(steps) @ label.classes_ for label in self.labels], axis=1)
        likely = torch.from_numpy(on).clamp(NEVER, 1 - NEVER)
        return torch.logit(likely).float().unflatten(0, batch.inputs.shape[:2])

    @property
    def parameters(self) -> int:
        fitted = [m for m in self.labels or [self.pipeline[-1]] if isinstance(m, LogisticRegression)]
        return sum(int(model.coef_.size + model.intercept_.size) for model in fitted)
