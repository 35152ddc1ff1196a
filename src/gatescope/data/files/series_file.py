"""The user's series: a NumPy .npz with arrays x, y and, if series differ in length, lengths; or a .ts file.

x is (N, T, F), or (N, T) for one feature; lengths (N,) holds the number of valid time steps of each series;
y (N,) holds labels or numbers, y (N, K) zeros and ones for K labels, or K numbers. Features are standardised
by the train split unless `standardise` is false.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from gatescope.data.datamodule import SequenceData
from gatescope.data.encoding.series import concatenate, series_splits
from gatescope.data.encoding.targets import Probability, TargetKind, with_thresholds
from gatescope.data.errors import MAX_SHOWN, DataError, Problems
from gatescope.data.examples import Splits
from gatescope.data.files.labels import Labels
from gatescope.data.files.sources import source_files, source_notes
from gatescope.data.files.target_columns import LabelColumns, NumberColumns, make_labels
from gatescope.data.files.ts_format import read_ts
from gatescope.data.ragged import Ragged
from gatescope.data.target_scale import ScaleName, with_target_scale

ArrayNames = tuple[str, str, str]
"""Names of the arrays of series, labels and lengths."""


class SeriesFile(SequenceData):
    """Classification of series by one label or several, or regression on one number per series or several.

    Args:
        path: of the train file, or of the file that all splits are drawn from.
        kind: classification, multilabel if a series may have any number of labels, or regression on numbers.
        x: name of the array of series.
        y: name of the array of labels or numbers.
        lengths: name of the array of lengths; without such an array all time steps are valid.
        x_test: name of the array of test series in the same file, or None.
        y_test: name of the array of their labels.
        lengths_test: name of the array of their lengths.
        validation_path: of a separate validation file, or None.
        test_path: of a separate test file, or None.
        validation: share of the train series, used without a `validation_path`.
        test: share of the train series, used without `test_path` and `x_test`.
        standardise: whether each feature is standardised over the time steps of train.
        batch_size, seed, workers: as in `SequenceData`.
        name: of the data in tables, folders and W&B; None for the name of the file.
        target_scale: as in `with_target_scale`; unused for classification.
        label_separator: between the labels of a series that are one text, for multilabel.
        threshold: as in `with_thresholds`, for multilabel.
    """

    def __init__(
        self,
        path: str,
        kind: TargetKind = "classification",
        x: str = "x",
        y: str = "y",
        lengths: str = "lengths",
        x_test: str | None = None,
        y_test: str | None = None,
        lengths_test: str | None = None,
        validation_path: str | None = None,
        test_path: str | None = None,
        validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        test: Annotated[float, Field(gt=0, lt=0.5)] = 0.1,
        standardise: bool = True,
        batch_size: Annotated[int, Field(ge=1)] = 64,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
        name: str | None = None,
        target_scale: ScaleName = "none",
        label_separator: Annotated[str, Field(min_length=1)] = ",",
        threshold: Probability | list[Probability] = 0.5,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.name, self.target_scale, self.threshold = name, target_scale, threshold
        self.label_separator = label_separator
        self.kind, self.validation, self.test, self.standardise = kind, validation, test, standardise
        self.files = source_files(path, validation_path, test_path)
        self.array_names = dict.fromkeys(self.files, (x, y, lengths))
        self.test_arrays = (x_test, y_test, lengths_test)

    def build(self) -> Splits:
        """Read the files and divide the series into splits."""
        self._add_test_arrays()
        labels = make_labels(self.files, self.kind, self._label_names(), self.label_separator)
        parts: list[Ragged] = []
        for part, path in self.files.items():
            series = _read(part, path, self.array_names[part], labels)
            if parts and series.flat.shape[1] != parts[0].flat.shape[1]:
                features, expected = series.flat.shape[1], parts[0].flat.shape[1]
                raise DataError(f"{path}: {features} features, and {self.files['train'].name} has {expected}")
            parts.append(series)
        targets, names = labels.targets()
        rows = labels.split(self.validation, self.test, self.seed)
        notes = source_notes(self.files)
        splits = series_splits(concatenate(parts), targets, names, rows, self.standardise, notes, self.kind)
        return with_thresholds(with_target_scale(splits, self.target_scale), self.threshold)

    def _label_names(self) -> str | list[str]:
        """Return "y", or the numbers of its columns if it has several."""
        path, (_, y, _) = self.files["train"], self.array_names["train"]
        if self.kind == "classification" or path.suffix.lower() != ".npz":
            return "y"
        with open_npz(path) as arrays:
            array = arrays[y] if y in arrays.files else np.empty(0)
        return [str(k) for k in range(array.shape[1])] if array.ndim == 2 else "y"

    def _add_test_arrays(self) -> None:
        x, y, lengths = self.test_arrays
        if (x is None) != (y is None) or (x is not None and "test" in self.files):
            raise DataError("data.x_test needs data.y_test, and neither can be combined with data.test_path")
        if x is not None and y is not None:
            self.files["test"] = self.files["train"]
            self.array_names["test"] = (x, y, lengths or "")


def _read(part: str, path: Path, names: ArrayNames, labels: Labels) -> Ragged:
    """Return the series of a file, and append their labels."""
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".ts"):
        raise DataError(f"{path}: its name must end in .npz or .ts")
    problems = Problems(path)
    if suffix == ".ts":
        series = []
        for example in read_ts(path, problems):
            if labels.add(part, example.label, example.where, problems):
                series.append(torch.from_numpy(example.values))
        problems.check()
        return Ragged(series)
    with open_npz(path) as arrays:
        columns = len(labels.columns) if isinstance(labels, LabelColumns | NumberColumns) else None
        x, y, lengths = _read_arrays(path, arrays, names, columns)
    valid_steps = _without_padding(x, lengths, names, problems)
    for i, value in enumerate(y.tolist()):
        labels.add(part, value, f"{names[1]}[{i}]", problems)
    problems.check()
    return valid_steps


@contextmanager
def open_npz(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """Open a file of named arrays.

    Raises:
        DataError: there is no such file, it holds no named arrays, or it is damaged; also while it is read.
    """
    try:
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: one array without a name; save it by np.savez(path, x=…, y=…)")
            yield arrays
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: cannot be decompressed: {error}") from error
    except DataError:
        raise
    except ValueError as error:
        hint = "store series of different lengths as one padded array (N, T, F), with lengths (N,)"
        problem = f"an array of Python objects: {hint}" if "pickle" in str(error) else str(error)
        raise DataError(f"{path}: {problem}") from error


def _read_arrays(
    path: Path, arrays: np.lib.npyio.NpzFile, names: ArrayNames, columns: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x (N, T, F), y (N,) or (N, columns) and lengths (N,), with consistent shapes."""
    for name, key in zip(names[:2], ("x", "y"), strict=True):
        if name not in arrays.files:
            raise DataError(
                f"{path}: no array {name!r}; it has {', '.join(arrays.files) or 'none'}: set data.{key}"
            )
    x, y = arrays[names[0]], arrays[names[1]]
    x = x[..., None] if x.ndim == 2 else x
    if x.ndim != 3 or x.dtype.kind not in "fiub" or 0 in x.shape:
        actual = f"{x.dtype} {arrays[names[0]].shape}"
        raise DataError(f"{path}: {names[0]} is {actual}, expected numbers (N, T, F) or (N, T)")
    lengths = arrays[names[2]] if names[2] in arrays.files else np.full(len(x), x.shape[1])
    shape = (len(x),) if columns is None else (len(x), columns)
    for name, array, expected in ((names[1], y, shape), (names[2], lengths, (len(x),))):
        if array.shape != expected:
            raise DataError(f"{path}: {name} is {array.shape}, expected {expected} as in {names[0]}")
    if lengths.dtype.kind not in "iu":
        raise DataError(f"{path}: {names[2]} is {lengths.dtype}, expected integers")
    return x, y, lengths


def _without_padding(x: np.ndarray, lengths: np.ndarray, names: ArrayNames, problems: Problems) -> Ragged:
    """Return the valid time steps; add a problem for each wrong length, NaN or infinity."""
    outside = np.flatnonzero((lengths < 1) | (lengths > x.shape[1]))
    places = [f"{names[2]}[{i}]" for i in outside[:MAX_SHOWN]]
    problems.add_all(places, len(outside), f"a length outside 1 to {x.shape[1]}")
    valid = np.arange(x.shape[1]) < lengths[:, None]
    bad = np.argwhere(~np.isfinite(x) & valid[..., None])
    places = [f"{names[0]}[{i}], step {t}, feature {f}" for i, t, f in bad[:MAX_SHOWN]]
    problems.add_all(places, len(bad), "NaN or infinity")
    return Ragged.from_flat(torch.from_numpy(x[valid].astype(np.float32)), valid.sum(1))
