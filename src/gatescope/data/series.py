"""From labelled series to a classification task: validation split, standardising, folding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from gatescope.data.examples import Examples, Splits
from gatescope.sequences import TaskSpec


@dataclass(frozen=True)
class Series:
    """Series (T_i, F) float32 with one label index each."""

    series: Sequence[Tensor]
    labels: np.ndarray

    def chosen(self, indices: np.ndarray) -> Series:
        return Series([self.series[i] for i in indices], self.labels[indices])


def divide(whole: Series, share: float, seed: int) -> tuple[Series, Series]:
    """Cuts `share` off, stratified by label: the rest, what was cut off."""
    rest, cut = train_test_split(
        np.arange(len(whole.labels)), test_size=share, stratify=whole.labels, random_state=seed
    )
    return whole.chosen(rest), whole.chosen(cut)


def standardised(splits: Sequence[Series]) -> list[Series]:
    """All splits with each feature at mean 0 and standard deviation 1 over the steps of the first, train."""
    seen = torch.cat(list(splits[0].series))
    mean, deviation = seen.mean(dim=0), seen.std(dim=0)
    scale = torch.where(deviation > 0, deviation, 1)  # a feature that never moves stays at 0
    return [Series([(x - mean) / scale for x in s.series], s.labels) for s in splits]


def folded(x: Tensor, steps: int) -> Tensor:
    """(T, F) -> (⌈T / steps⌉, steps·F): so many consecutive steps become one, the last filled with zeros."""
    short = -len(x) % steps
    return torch.cat([x, x.new_zeros(short, x.shape[1])]).reshape(-1, steps * x.shape[1])


def classification(splits: Sequence[Series], labels: Sequence[str], notes: dict[str, Any]) -> Splits:
    """From train, validation and test: one label a series, compared on accuracy; two classes have one
    (sigmoid) output."""
    task = TaskSpec(
        kind="classification",
        inputs="features",
        input_size=splits[0].series[0].shape[1],
        output_size=1 if len(labels) == 2 else len(labels),
        metric="accuracy",
        direction="max",
        labels=tuple(labels),
        notes={"chance": 1 / len(labels)} | notes,
    )
    train, validation, test = (Examples(s.series, torch.as_tensor(s.labels)) for s in splits)
    return Splits(train, validation, test, task)
