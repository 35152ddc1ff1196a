"""From labelled series to a classification or regression: splits, standardisation, folding of time steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from gatescope.data.encoding.targets import TargetKind, target_fields
from gatescope.data.examples import Examples, Splits
from gatescope.data.ragged import Ragged, chunks
from gatescope.sequences import TaskSpec


@dataclass(frozen=True)
class Series:
    """Series (T_i, F) float32 with a class index each."""

    series: Sequence[Tensor]
    labels: np.ndarray

    def subset(self, indices: np.ndarray) -> Series:
        """Return the series with these indices (M,), in this order."""
        return Series([self.series[i] for i in indices], self.labels[indices])


def divide(whole: Series, share: float, seed: int) -> tuple[Series, Series]:
    """Split off a share of the series, stratified by label.

    Args:
        whole: all series.
        share: between 0 and 1.
        seed: of the split.

    Returns:
        The rest, and the share.
    """
    rest, cut = train_test_split(
        np.arange(len(whole.labels)), test_size=share, stratify=whole.labels, random_state=seed
    )
    return whole.subset(rest), whole.subset(cut)


def standardise(splits: Sequence[Series]) -> list[Series]:
    """Standardise each feature to mean 0 and standard deviation 1 over the time steps of the first split."""
    train = torch.cat(list(splits[0].series))
    mean, deviation = train.mean(dim=0), train.std(dim=0)
    scale = torch.where(deviation > 0, deviation, 1)  # a constant feature becomes 0
    return [Series([(x - mean) / scale for x in s.series], s.labels) for s in splits]


def fold(x: Tensor, steps: int) -> Tensor:
    """Concatenate consecutive time steps into one, to shorten a series.

    Args:
        x: (T, F).
        steps: number of consecutive time steps that become one; the last is filled with zeros.

    Returns:
        (⌈T / steps⌉, steps·F).
    """
    missing = -len(x) % steps
    return torch.cat([x, x.new_zeros(missing, x.shape[1])]).reshape(-1, steps * x.shape[1])


def classification_splits(splits: Sequence[Series], labels: Sequence[str], notes: dict[str, Any]) -> Splits:
    """Return the classification of series, compared by accuracy; two classes have one (sigmoid) output.

    Args:
        splits: train, validation and test.
        labels: names of the classes.
        notes: facts for the record.
    """
    fields = target_fields("classification", tuple(labels))
    task = _task(splits[0].series[0].shape[1], fields, {"chance": 1 / len(labels)} | notes)
    train, validation, test = (Examples(s.series, torch.as_tensor(s.labels)) for s in splits)
    return Splits(train, validation, test, task)


def series_splits(
    series: Ragged,
    targets: Tensor,
    labels: tuple[str, ...],
    rows: Sequence[np.ndarray],
    standardised: bool,
    notes: dict[str, Any],
    kind: TargetKind = "classification",
) -> Splits:
    """Return the task of series.

    Args:
        series: N series (T_i, F).
        targets: of every series, as `target_fields` describes them.
        labels: names of the classes, labels or outputs.
        rows: indices of the train, validation and test series.
        standardised: whether each feature is standardised over the time steps of train.
        notes: facts for the record.
        kind: what is predicted.
    """
    parts = [series.subset(part) for part in rows]
    return divided_series(parts, targets, labels, rows, standardised, notes, kind)


def divided_series(
    parts: Sequence[Ragged],
    targets: Tensor,
    labels: tuple[str, ...],
    rows: Sequence[np.ndarray],
    standardised: bool,
    notes: dict[str, Any],
    kind: TargetKind = "classification",
) -> Splits:
    """Return what `series_splits` returns, from the series of each split, which are standardised in place.

    Args:
        parts: the train, validation and test series.
        targets: (N,) class indices, or real values.
        labels: names of the classes, or none.
        rows: indices into `targets` of the train, validation and test series.
        standardised: whether each feature is standardised over the time steps of train.
        notes: facts for the record.
        kind: what is predicted.
    """
    task = _task(parts[0].flat.shape[1], target_fields(kind, labels), notes)
    if standardised:
        task = replace(task, input_scale=standardise_in_place(parts))
    train, validation, test = (
        Examples(part, targets[torch.from_numpy(indices)]) for part, indices in zip(parts, rows, strict=True)
    )
    return Splits(train, validation, test, task)


def standardise_in_place(parts: Sequence[Ragged]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Standardise each feature over the time steps of the first part; return the means and the deviations.

    Args:
        parts: the train, validation and test series.
    """
    mean, deviation = _moments(parts[0].flat)
    scale = torch.where(deviation > 0, deviation, 1)  # a constant feature becomes 0
    for chunk in (chunk for part in parts for chunk in chunks(part.flat)):
        chunk.copy_((chunk - mean) / scale)
    return tuple(mean.tolist()), tuple(scale.tolist())


def _moments(steps: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (F,) float64 of (M, F) steps, without a copy of all in float64."""
    zero = torch.zeros(steps.shape[1], dtype=torch.float64)
    mean = sum((chunk.double().sum(0) for chunk in chunks(steps)), zero) / len(steps)
    squares = (((chunk.double() - mean) ** 2).sum(0) for chunk in chunks(steps))
    return mean, (sum(squares, zero) / len(steps)).sqrt()


def concatenate(parts: Sequence[Ragged]) -> Ragged:
    """Concatenate collections of series."""
    if len(parts) == 1:
        return parts[0]
    return Ragged.from_flat(
        torch.cat([part.flat for part in parts]), np.concatenate([part.lengths for part in parts])
    )


def _task(features: int, fields: dict[str, Any], notes: dict[str, Any]) -> TaskSpec:
    return TaskSpec(inputs="features", input_size=features, notes=notes, **fields)
