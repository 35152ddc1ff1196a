"""A vector of fixed length from a series of any length, for models without a notion of time."""

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
    """Return statistics of each feature over time.

    Args:
        series: (T, F).

    Returns:
        (7 F,) mean, standard deviation, minimum, maximum, first and last value, mean absolute difference.
    """
    steps = series.diff(dim=0).abs().mean(0) if len(series) > 1 else torch.zeros_like(series[0])
    spread = series.std(0, correction=0)
    return torch.cat([series.mean(0), spread, series.amin(0), series.amax(0), series[0], series[-1], steps])


def resample(series: Tensor, points: int) -> Tensor:
    """Interpolate a series (T, F) linearly at evenly spaced time points; return (points F,)."""
    return F.interpolate(series.T[None], size=points, mode="linear", align_corners=True).flatten()


@dataclass(frozen=True)
class Summary:
    """Settings of the vector of a series.

    Args:
        statistics: whether it holds the statistics of each feature.
        points: number of time points at which it holds the series; 0 for none.
    """

    statistics: bool
    points: int

    def __post_init__(self) -> None:
        if not self.statistics and not self.points:
            raise ValueError("model.baseline.points: at least 1 is needed without model.baseline.statistics")

    def batch(self, batch: Batch) -> np.ndarray:
        """Return the vectors (B, D) of a batch."""
        series = [x[:length] for x, length in zip(batch.inputs, batch.lengths.tolist(), strict=True)]
        parts = []
        if self.statistics:
            parts.append(torch.stack([statistics(x) for x in series]))
        if self.points:
            parts.append(torch.stack([resample(x, self.points) for x in series]))
        return torch.cat(parts, dim=1).numpy()

    def split(self, examples: Examples, task: TaskSpec, name: str) -> np.ndarray:
        """Return the vectors (N, D) of all examples.

        Args:
            examples: the split.
            task: of the data.
            name: of the baseline, for the message.

        Raises:
            ValueError: the inputs are tokens.
        """
        if task.inputs != "features":
            raise ValueError(f"model={name} needs features: choose series, or model=tfidf_logistic for texts")
        return np.concatenate([self.batch(batch) for batch in batches(examples, task)])
