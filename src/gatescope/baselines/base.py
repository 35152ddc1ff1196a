"""The contract of a baseline: fit on a datamodule's train split, predict another."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor

from gatescope.data.base import Examples, Splits


class Baseline(ABC):
    @abstractmethod
    def fit(self, examples: Examples) -> None:
        """Raises ValueError when the task is not one that this baseline fits."""

    @abstractmethod
    def predict(self, examples: Examples) -> np.ndarray:
        """(N,) predicted class indices."""

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Fitted coefficients."""


def evaluate(baseline: Baseline, splits: Splits) -> dict[str, float]:
    """Fits on train; accuracy and macro-F1 on validation and test, under the names that training logs."""
    baseline.fit(splits.train)
    scores: dict[str, float] = {}
    for name in ("validation", "test"):
        examples: Examples = getattr(splits, name)
        predicted, truth = baseline.predict(examples), labels(examples)
        scores[f"{name}/accuracy"] = float(accuracy_score(truth, predicted))
        scores[f"{name}/macro_f1"] = float(f1_score(truth, predicted, average="macro"))
    return scores


def labels(examples: Examples) -> np.ndarray:
    """(N,) class indices."""
    if not isinstance(examples.targets, Tensor) or examples.targets.is_floating_point():
        raise ValueError("a classification baseline needs one class label a sequence: choose other data")
    return examples.targets.numpy()
