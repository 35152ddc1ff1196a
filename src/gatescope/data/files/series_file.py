"""The user's series: a NumPy .npz with arrays x, y and, if series differ in length, lengths; or a .ts file.

x is (N, T, F), or (N, T) for one feature; lengths (N,) holds the number of valid time steps of each series;
y (N,) holds labels or numbers. Features are standardised by the train split unless `standardise` is false.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from gatescope.data.datamodule import SequenceData
from gatescope.data.division import Division, Fold, Folds
from gatescope.data.encoding.series import concatenate, series_splits
from gatescope.data.errors import MAX_SHOWN, DataError, Problems
from gatescope.data.examples import Splits
from gatescope.data.files.groups import Groups
from gatescope.data.files.labels import Labels, TargetKind
from gatescope.data.files.sources import source_files, source_notes
from gatescope.data.files.ts_format import read_ts
from gatescope.data.ragged import Ragged
from gatescope.data.target_scale import ScaleName, with_target_scale

ArrayNames = tuple[str, str, str]
"""Names of the arrays of series, labels and lengths."""


class SeriesFile(SequenceData):
    """Classification of series, or regression on a number per series.

    Args:
        path: of the train file, or of the file that all splits are drawn from.
        kind: classification, or regression if y holds numbers.
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
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.name, self.target_scale = name, target_scale
        self.kind, self.standardise, self.group = kind, standardise, group
        self.division = Division(validation, test, seed, folds, fold)
        self.files = source_files(path, validation_path, test_path)
        self.array_names = dict.fromkeys(self.files, (x, y, lengths))
        self.test_arrays = (x_test, y_test, lengths_test)

    def build(self) -> Splits:
        """Read the files and divide the series into splits."""
        self._add_test_arrays()
        labels, groups = Labels(self.files, self.kind, "y"), Groups(self.files, self.group)
        parts: list[Ragged] = []
        for part, path in self.files.items():
            series = _read(part, path, self.array_names[part], labels)
            if parts and series.flat.shape[1] != parts[0].flat.shape[1]:
                features, expected = series.flat.shape[1], parts[0].flat.shape[1]
                raise DataError(f"{path}: {features} features, and {self.files['train'].name} has {expected}")
            parts.append(series)
            if self.group is not None:
                groups.add_all(part, _read_groups(path, self.group, len(series)), self.group)
        targets, names = labels.targets()
        rows = labels.split(self.division, groups.array)
        notes = source_notes(self.files) | groups.notes(self.division)
        splits = series_splits(concatenate(parts), targets, names, rows, self.standardise, notes)
        return with_target_scale(splits, self.target_scale)

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
        x, y, lengths = _read_arrays(path, arrays, names)
    valid_steps = _without_padding(x, lengths, names, problems)
    for i, value in enumerate(y.tolist()):
        labels.add(part, value, f"{names[1]}[{i}]", problems)
    problems.check()
    return valid_steps


def _read_groups(path: Path, name: str, count: int) -> list[Any]:
    """Return the groups (N,) of the series of a file."""
    if path.suffix.lower() != ".npz":
        raise DataError(f"{path}: data.group names an array of an .npz file; this format has none")
    with open_npz(path) as arrays:
        if name not in arrays.files:
            raise DataError(f"{path}: no array {name!r}; it has {', '.join(arrays.files)}: set data.group")
        values = arrays[name]
    if values.shape != (count,):
        raise DataError(f"{path}: {name} is {values.shape}, expected ({count},): a group for each series")
    found: list[Any] = values.tolist()
    return found


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
    path: Path, arrays: np.lib.npyio.NpzFile, names: ArrayNames
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x (N, T, F), y (N,) and lengths (N,), with consistent shapes."""
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
    for name, array in ((names[1], y), (names[2], lengths)):
        if array.shape != (len(x),):
            raise DataError(f"{path}: {name} is {array.shape}, expected ({len(x)},) as in {names[0]}")
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
