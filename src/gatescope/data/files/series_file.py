"""The user's series: a NumPy .npz with arrays x, y and, if series differ in length, lengths; or a .ts file.

x is (N, T, F), or (N, T) for one feature; lengths (N,) holds the number of valid time steps of each series;
y (N,) holds labels or numbers, y (N, K) zeros and ones for K labels, or K numbers. Features are standardised
by the train split unless `standardise` is false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from gatescope.data.datamodule import SequenceData
from gatescope.data.division import Division, Fold, Folds
from gatescope.data.encoding.series import divided_series
from gatescope.data.encoding.targets import Probability, TargetKind, with_thresholds
from gatescope.data.errors import MAX_SHOWN, DataError, Problems
from gatescope.data.examples import Splits
from gatescope.data.files.groups import Groups
from gatescope.data.files.labels import Labels
from gatescope.data.files.npz import Arrays, open_npz
from gatescope.data.files.sources import source_files, source_notes
from gatescope.data.files.target_columns import LabelColumns, NumberColumns, make_labels
from gatescope.data.files.ts_format import read_ts
from gatescope.data.ragged import Ragged, ranges
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
        folds, fold: as in `Division`.
        group: name of an array (N,) of the groups (speaker, patient), none of which is in two splits; None
            without groups.
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
        folds: Folds = None,
        fold: Fold = None,
        group: str | None = None,
        label_separator: Annotated[str, Field(min_length=1)] = ",",
        threshold: Probability | list[Probability] = 0.5,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.name, self.target_scale, self.threshold = name, target_scale, threshold
        self.label_separator = label_separator
        self.kind, self.standardise, self.group = kind, standardise, group
        self.division = Division(validation, test, seed, folds, fold)
        self.files = source_files(path, validation_path, test_path)
        self.array_names = dict.fromkeys(self.files, (x, y, lengths))
        self.test_arrays = (x_test, y_test, lengths_test)

    def build(self) -> Splits:
        """Read the files and divide the series into splits."""
        self._add_test_arrays()
        labels = make_labels(self.files, self.kind, self._label_names(), self.label_separator)
        groups = Groups(self.files, self.group)
        sources: list[_Source] = []
        for part, path in self.files.items():
            source = _read(part, path, self.array_names[part], labels)
            if sources and source.features != sources[0].features:
                train = f"{self.files['train'].name} has {sources[0].features}"
                raise DataError(f"{path}: {source.features} features, and {train}")
            sources.append(source)
            if self.group is not None:
                groups.add_all(part, _read_groups(path, self.group, len(source.lengths)), self.group)
        targets, names = labels.targets()
        rows = labels.split(self.division, groups.array)
        notes = source_notes(self.files) | groups.notes(self.division)
        parts = _fill(sources, rows)
        splits = divided_series(parts, targets, names, rows, self.standardise, notes, self.kind)
        return with_thresholds(with_target_scale(splits, self.target_scale), self.threshold)

    def _label_names(self) -> str | list[str]:
        """Return "y", or the numbers of its columns if it has several."""
        path, (_, y, _) = self.files["train"], self.array_names["train"]
        if self.kind == "classification" or path.suffix.lower() != ".npz":
            return "y"
        with open_npz(path) as arrays:
            shape = arrays.header(y).shape if y in arrays.names else ()
        return [str(k) for k in range(shape[1])] if len(shape) == 2 and shape[1] > 1 else "y"

    def _add_test_arrays(self) -> None:
        x, y, lengths = self.test_arrays
        if (x is None) != (y is None) or (x is not None and "test" in self.files):
            raise DataError("data.x_test needs data.y_test, and neither can be combined with data.test_path")
        if x is not None and self.group is not None:
            raise DataError(
                "data.group: one array of groups cannot belong to both x and x_test; use test_path"
            )
        if x is not None and y is not None:
            self.files["test"] = self.files["train"]
            self.array_names["test"] = (x, y, lengths or "")


@dataclass(frozen=True)
class _Source:
    """The series of a file.

    Attributes:
        lengths: (N,) int64 T_i.
        features: Number of features, F.
        blocks: Yields consecutive series, (n, T, F) each, whose steps after T_i are padding.
        names: Name of the series in messages.
        path: The file.
    """

    lengths: np.ndarray
    features: int
    blocks: Callable[[], Iterable[np.ndarray]]
    name: str
    path: Path


def _read(part: str, path: Path, names: ArrayNames, labels: Labels) -> _Source:
    """Return the series of a file, and append their labels."""
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".ts"):
        raise DataError(f"{path}: its name must end in .npz or .ts")
    problems = Problems(path)
    if suffix == ".ts":
        series = []
        for example in read_ts(path, problems):
            if labels.add(part, example.label, example.where, problems):
                series.append(example.values)
        problems.check()
        lengths = np.array([len(values) for values in series])
        return _Source(lengths, series[0].shape[1], lambda: (x[None] for x in series), "series", path)
    with open_npz(path) as arrays:
        columns = len(labels.columns) if isinstance(labels, LabelColumns | NumberColumns) else None
        shape, y, lengths = _read_arrays(arrays, names, columns)
    outside = np.flatnonzero((lengths < 1) | (lengths > shape[1]))
    places = [f"{names[2]}[{i}]" for i in outside[:MAX_SHOWN]]
    problems.add_all(places, len(outside), f"a length outside 1 to {shape[1]}")
    for i, value in enumerate(y.tolist()):
        labels.add(part, value, f"{names[1]}[{i}]", problems)
    problems.check()
    return _Source(lengths, shape[2], partial(_npz_blocks, path, names[0]), names[0], path)


def _read_groups(path: Path, name: str, count: int) -> list[Any]:
    """Return the groups (N,) of the series of a file."""
    if path.suffix.lower() != ".npz":
        raise DataError(f"{path}: data.group names an array of an .npz file; this format has none")
    with open_npz(path) as arrays:
        if name not in arrays.names:
            raise DataError(f"{path}: no array {name!r}; it has {', '.join(arrays.names)}: set data.group")
        values = arrays.read(name)
    if values.shape != (count,):
        raise DataError(f"{path}: {name} is {values.shape}, expected ({count},): a group for each series")
    found: list[Any] = values.tolist()
    return found


def _read_arrays(
    arrays: Arrays, names: ArrayNames, columns: int | None
) -> tuple[tuple[int, int, int], np.ndarray, np.ndarray]:
    """Return the shape (N, T, F) of x, y (N,) or (N, columns) and lengths (N,), which are consistent."""
    path = arrays.path
    for name, key in zip(names[:2], ("x", "y"), strict=True):
        if name not in arrays.names:
            raise DataError(
                f"{path}: no array {name!r}; it has {', '.join(arrays.names) or 'none'}: set data.{key}"
            )
    header = arrays.header(names[0])
    shape = (*header.shape, 1) if len(header.shape) == 2 else header.shape
    if len(shape) != 3 or header.dtype.kind not in "fiub" or 0 in shape:
        actual = f"{header.dtype} {header.shape}"
        raise DataError(f"{path}: {names[0]} is {actual}, expected numbers (N, T, F) or (N, T)")
    y = arrays.read(names[1])
    lengths = arrays.read(names[2]) if names[2] in arrays.names else np.full(shape[0], shape[1])
    count = (shape[0],)
    for name, array, expected in (
        (names[1], y, count if columns is None else (*count, columns)),
        (names[2], lengths, count),
    ):
        if array.shape != expected:
            raise DataError(f"{path}: {name} is {array.shape}, expected {expected} as in {names[0]}")
    if lengths.dtype.kind not in "iu":
        raise DataError(f"{path}: {names[2]} is {lengths.dtype}, expected integers")
    return (shape[0], shape[1], shape[2]), y, lengths


def _npz_blocks(path: Path, name: str) -> Iterator[np.ndarray]:
    with open_npz(path) as arrays:
        for block in arrays.blocks(name):
            yield block[..., None] if block.ndim == 2 else block


def _fill(sources: Sequence[_Source], rows: Sequence[np.ndarray]) -> list[Ragged]:
    """Return the series of each split, read into one tensor: no series is in memory twice.

    Args:
        sources: The files, whose series are numbered one file after the other.
        rows: Numbers of the series of each split.

    Raises:
        DataError: A value is NaN or infinite.
    """
    lengths = np.concatenate([source.lengths for source in sources]).astype(np.int64)
    order = np.concatenate(rows)
    starts = np.full(len(lengths), -1)
    starts[order] = np.cumsum(lengths[order]) - lengths[order]
    flat = torch.empty(int(lengths[order].sum()), sources[0].features)
    first = 0
    for source in sources:
        problems, number = Problems(source.path), 0
        for block in source.blocks():
            valid = np.arange(block.shape[1]) < source.lengths[number : number + len(block), None]
            _check_finite(block, valid, source.name, number, problems)
            chosen = starts[first : first + len(block)] >= 0
            taken = np.flatnonzero(chosen) + first
            with np.errstate(over="ignore"):  # `_check_finite` reports what becomes infinity
                values = block[valid & chosen[:, None]].astype(np.float32)
            flat.numpy()[ranges(starts[taken], lengths[taken])] = values
            number, first = number + len(block), first + len(block)
        problems.check()
    ends = np.cumsum([int(lengths[part].sum()) for part in rows])
    parts = zip([0, *ends[:-1]], ends, rows, strict=True)
    return [Ragged.from_flat(flat[start:end], lengths[part]) for start, end, part in parts]


def _check_finite(block: np.ndarray, valid: np.ndarray, name: str, first: int, problems: Problems) -> None:
    """Add a problem for each value within a series that is NaN, infinite, or too large for float32."""
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(block.astype(np.float32, copy=False))
    if is_finite.all():
        return
    bad = np.argwhere(~is_finite & valid[..., None])
    places = [f"{name}[{first + i}], step {t}, feature {f}" for i, t, f in bad[:MAX_SHOWN]]
    what = "too large for float32" if len(bad) and np.isfinite(block[tuple(bad[0])]) else "NaN or infinity"
    problems.add_all(places, len(bad), what)
