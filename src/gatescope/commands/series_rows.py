"""Series of a user's .npz or .ts file for a trained model, with their labels where these are needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omegaconf import DictConfig

from gatescope.data.errors import DataError, Problems

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
    from gatescope.data.files.series_file import open_npz  # imports scikit-learn
    from gatescope.data.files.ts_format import read_ts

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
    name_x, name_y, name_lengths = (config.data.get(key, key) for key in ("x", "y", "lengths"))
    with open_npz(path) as arrays:
        series = _array(path, arrays, x or name_x, "column")
        labels = _array(path, arrays, y or name_y, "label") if labelled else [None] * len(series)
        lengths = arrays[name_lengths] if name_lengths in arrays.files else [None] * len(series)
    if not len(series) == len(labels) == len(lengths):
        counts = f"{len(series)} series, {len(labels)} labels, {len(lengths)} lengths"
        raise DataError(f"{path}: {counts}: their numbers must be equal")
    if not len(series):
        raise DataError(f"{path}: no series")
    series = series[..., None] if series.ndim == 2 else series
    for i, (values, label, length) in enumerate(zip(series, labels, lengths, strict=True)):
        where = f"{x or name_x}[{i}]"
        if length is not None and not 1 <= length <= len(values):
            raise DataError(f"{path}: {name_lengths}[{i}]: {length} is not from 1 to {len(values)}")
        label = label.tolist() if isinstance(label, np.generic | np.ndarray) else label
        yield SeriesRow(values[:length].astype(np.float32), label, where)


def _array(path: Path, arrays: np.lib.npyio.NpzFile, name: str, argument: str) -> np.ndarray:
    """Return an array of a file."""
    if name not in arrays.files:
        raise DataError(
            f"{path}: no array {name!r}; it has {', '.join(arrays.files)}: choose by {argument}=NAME"
        )
    array: np.ndarray = arrays[name]
    return array
