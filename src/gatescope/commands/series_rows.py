"""Series of a user's .npz or .ts file for a trained model, with their labels where these are needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig

from gatescope.data.errors import DataError, Problems
from gatescope.data.files.npz import Arrays, open_npz
from gatescope.data.files.ts_format import read_ts

SUFFIXES = (".npz", ".ts")


class SeriesRow(NamedTuple):
    """A series.

    Attributes:
        values: (T, F) float32.
        label: Its label as the file has it; None if it is not read.
        where: Place in the file.
    """

    values: np.ndarray
    label: Any
    where: str


def series_rows(
    path: Path, config: DictConfig, x: str | None = None, y: str | None = None, labelled: bool = False
) -> Iterator[SeriesRow]:
    """Yield the series of a file.

    Args:
        path: The file.
        config: Config of the run, which names the arrays of an .npz.
        x: Name of the array of series, in place of that in training.
        y: Name of the array of labels, in place of that in training.
        labelled: Whether the labels are read.

    Raises:
        DataError: The file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: the model reads series, from a file that ends in {' or '.join(SUFFIXES)}")
    if suffix == ".ts":
        problems = Problems(path)
        for example in read_ts(path, problems):
            problems.check()
            yield SeriesRow(example.values, example.label, example.where)
        problems.check()
        return
    names = (config.data.get(key, key) for key in ("x", "y", "lengths"))
    name_x, name_y, name_lengths = (given or name for given, name in zip((x, y, None), names, strict=True))
    with open_npz(path) as arrays:
        _check_named(arrays, name_x, "column")
        count = arrays.header(name_x).shape[0]
        lengths = arrays.read(name_lengths) if name_lengths in arrays.names else [None] * count
        labels: Any = [None] * count
        if labelled:
            _check_named(arrays, name_y, "label")
            labels = arrays.read(name_y)
        if not count == len(labels) == len(lengths):
            counts = f"{count} series, {len(labels)} labels, {len(lengths)} lengths"
            raise DataError(f"{path}: {counts}: their numbers must be equal")
        if not count:
            raise DataError(f"{path}: no series")
        series = (values for block in arrays.blocks(name_x) for values in block)
        for i, (values, label, length) in enumerate(zip(series, labels, lengths, strict=True)):
            if length is not None and not 1 <= length <= len(values):
                raise DataError(f"{path}: {name_lengths}[{i}]: {length} is not from 1 to {len(values)}")
            values = values[:, None] if values.ndim == 1 else values
            label = label.tolist() if isinstance(label, np.generic | np.ndarray) else label
            yield SeriesRow(values[:length].astype(np.float32), label, f"{name_x}[{i}]")


def _check_named(arrays: Arrays, name: str, argument: str) -> None:
    if name not in arrays.names:
        raise DataError(
            f"{arrays.path}: no array {name!r}; it has {', '.join(arrays.names)}: choose by {argument}=NAME"
        )
