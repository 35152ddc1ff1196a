"""A series of any length as a vector of fixed length, for models that know nothing of time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gatescope.baselines.base import batches
from gatescope.data.examples import Examples
from gatescope.sequences import Batch, TaskSpec


def statistics(series: Tensor) -> Tensor:
    """(T, F) -> (7 F,): mean, standard deviation, least, greatest, first, last, mean |difference|."""
    steps = series.diff(dim=0).abs().mean(0) if len(series) > 1 else torch.zeros_like(series[0])
    spread = series.std(0, correction=0)
    return torch.cat([series.mean(0), spread, series.amin(0), series.amax(0), series[0], series[-1], steps])


def resampled(series: Tensor, points: int) -> Tensor:
    """(T, F) -> (points F,), linearly between the first step and the last."""
    return F.interpolate(series.T[None], size=points, mode="linear", align_corners=True).flatten()


@dataclass(frozen=True)
class Summary:
    """What is kept of a series: its statistics, the series at `points` moments, or both."""

    statistics: bool
    points: int

    def __post_init__(self) -> None:
        if not self.statistics and not self.points:
            raise ValueError("model.baseline.points: at least 1 where model.baseline.statistics is false")

    def batch(self, batch: Batch) -> np.ndarray:
        """(B, T, F) -> (B, D)."""
        series = [x[:length] for x, length in zip(batch.inputs, batch.lengths.tolist(), strict=True)]
        parts = []
        if self.statistics:
            parts.append(torch.stack([statistics(x) for x in series]))
        if self.points:
            parts.append(torch.stack([resampled(x, self.points) for x in series]))
        return torch.cat(parts, dim=1).numpy()

    def split(self, examples: Examples, task: TaskSpec, name: str) -> np.ndarray:
        """(N, D) of all examples.

        Raises:
            ValueError: the inputs are tokens; `name` is the baseline's.
        """
        if task.inputs != "features":
            raise ValueError(f"model={name} reads features: choose series, or model=tfidf_logistic for text")
        return np.concatenate([self.batch(batch) for batch in batches(examples, task)])
