"""Your own series: a NumPy .npz with arrays x, y and, where series differ in length, lengths; or a .ts file.

x is (N, T, F), or (N, T) for one feature; lengths (N,) says how many steps of each series count; y (N,) holds
labels or numbers. Features are standardised by the train split unless told otherwise.
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
from torch import Tensor

from gatescope.data.answers import Answer, Answers, Rows, digests, own_files
from gatescope.data.datamodule import SequenceData
from gatescope.data.errors import DataError
from gatescope.data.examples import Examples, Splits
from gatescope.data.ragged import Ragged
from gatescope.data.rows import SHOWN, Problems
from gatescope.data.ts_format import read_ts
from gatescope.sequences import TaskSpec


class SeriesFile(SequenceData):
    """Classification of series, or regression on a number each.

    Args:
        path: of the train file, or of the file that all splits are cut from.
        kind: classification, or regression where y holds numbers.
        x, y, lengths: names of the arrays; without one called `lengths` all series are as long as x.
        x_test, y_test, lengths_test: arrays of the same file that are the test split, or None.
        validation_path, test_path: files of their own, or None.
        validation, test: shares of the train file where a split has nothing of its own.
        standardise: each feature to mean 0 and standard deviation 1 over the steps of train.
        batch_size, seed, workers: as in `SequenceData`.
        name: of the data, on tables, folders and W&B; None: that of the file or folder.
    """

    def __init__(
        self,
        path: str,
        kind: Answer = "classification",
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
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.name = name
        self.kind, self.validation, self.test, self.standardise = kind, validation, test, standardise
        self.files = own_files(path, validation_path, test_path)
        self.names = dict.fromkeys(self.files, (x, y, lengths))
        self.inside = (x_test, y_test, lengths_test)

    def _add_test_arrays(self) -> None:
        x, y, lengths = self.inside
        if (x is None) != (y is None) or (x is not None and "test" in self.files):
            raise DataError("data.x_test and data.y_test are given together, and then no data.test_path")
        if x is not None and y is not None:
            self.files["test"] = self.files["train"]
            self.names["test"] = (x, y, lengths or "")

    def build(self) -> Splits:
        self._add_test_arrays()
        answers = Answers(self.files, self.kind, "y")
        series: list[Ragged] = []
        for part, path in self.files.items():
            found = _read(part, path, self.names[part], answers)
            if series and found.flat.shape[1] != series[0].flat.shape[1]:
                width, due = found.flat.shape[1], series[0].flat.shape[1]
                raise DataError(f"{path}: {width} features, and {self.files['train'].name} has {due}")
            series.append(found)
        targets, labels = answers.targets()
        rows = answers.rows(self.validation, self.test, self.seed)
        return series_splits(joined(series), targets, labels, rows, self.standardise, digests(self.files))


def _read(part: str, path: Path, names: tuple[str, str, str], answers: Answers) -> Ragged:
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".ts"):
        raise DataError(f"{path}: its name must end in .npz or .ts")
    problems = Problems(path)
    if suffix == ".ts":
        examples = []
        for values, answer, where in read_ts(path, problems):
            if answers.add(part, answer, where, problems):
                examples.append(torch.from_numpy(values))
        problems.check()
        return Ragged(examples)
    with opened_npz(path) as arrays:
        x, y, lengths = _arrays(path, arrays, names)
    found = _steps(x, lengths, names, problems)
    for i, value in enumerate(y.tolist()):
        answers.add(part, value, f"{names[1]}[{i}]", problems)
    problems.check()
    return found


@contextmanager
def opened_npz(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """
    Raises:
        DataError: no such file, none of arrays, or a torn one; also while it is read.
    """
    try:
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: one array without a name; save it by np.savez(path, x=…, y=…)")
            yield arrays
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: cannot be unpacked: {error}") from error
    except DataError:
        raise
    except ValueError as error:
        hint = "series of unlike length go into one array (N, T, F), padded, with lengths (N,)"
        told = f"an array of Python objects: {hint}" if "pickle" in str(error) else str(error)
        raise DataError(f"{path}: {told}") from error


def _arrays(
    path: Path, arrays: np.lib.npyio.NpzFile, names: tuple[str, str, str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (N, T, F), y (N,) and lengths (N,), of shapes that go together."""
    for name, key in zip(names[:2], ("x", "y"), strict=True):
        if name not in arrays.files:
            raise DataError(
                f"{path}: no array {name!r}; it has {', '.join(arrays.files) or 'none'}: data.{key} names it"
            )
    x, y = arrays[names[0]], arrays[names[1]]
    x = x[..., None] if x.ndim == 2 else x
    if x.ndim != 3 or x.dtype.kind not in "fiub" or 0 in x.shape:
        given = f"{x.dtype} {arrays[names[0]].shape}"
        raise DataError(f"{path}: {names[0]} is {given}, and numbers (N, T, F) or (N, T) are due")
    lengths = arrays[names[2]] if names[2] in arrays.files else np.full(len(x), x.shape[1])
    for name, array in ((names[1], y), (names[2], lengths)):
        if array.shape != (len(x),):
            raise DataError(f"{path}: {name} is {array.shape}, and ({len(x)},) is due, as {names[0]} has it")
    if lengths.dtype.kind not in "iu":
        raise DataError(f"{path}: {names[2]} is {lengths.dtype}, and whole numbers are due")
    return x, y, lengths


def _steps(x: np.ndarray, lengths: np.ndarray, names: tuple[str, str, str], problems: Problems) -> Ragged:
    """The steps that count, without padding."""
    outside = np.flatnonzero((lengths < 1) | (lengths > x.shape[1]))
    places = [f"{names[2]}[{i}]" for i in outside[:SHOWN]]
    problems.add_all(places, len(outside), f"a length outside 1 to {x.shape[1]}")
    counted = np.arange(x.shape[1]) < lengths[:, None]
    bad = np.argwhere(~np.isfinite(x) & counted[..., None])
    places = [f"{names[0]}[{i}], step {t}, feature {f}" for i, t, f in bad[:SHOWN]]
    problems.add_all(places, len(bad), "NaN or infinity")
    return Ragged.of(torch.from_numpy(x[counted].astype(np.float32)), counted.sum(1))


def joined(parts: list[Ragged]) -> Ragged:
    if len(parts) == 1:
        return parts[0]
    return Ragged.of(torch.cat([p.flat for p in parts]), np.concatenate([p.lengths for p in parts]))


def series_splits(
    series: Ragged,
    targets: Tensor,
    labels: tuple[str, ...],
    rows: Rows,
    standardise: bool,
    notes: dict[str, object],
) -> Splits:
    """The task of series (T_i, F) with these targets (N,): a regression where there are no labels."""
    chosen = [series.chosen(part) for part in rows]
    if standardise:
        seen = chosen[0].flat.double()
        mean, deviation = seen.mean(0), seen.std(0, correction=0)
        scale = torch.where(deviation > 0, deviation, 1)  # a feature that never moves stays at 0
        chosen = [Ragged.of(((p.flat - mean) / scale).float(), p.lengths) for p in chosen]
    train, validation, test = (
        Examples(part, targets[torch.from_numpy(where)]) for part, where in zip(chosen, rows, strict=True)
    )
    task = TaskSpec(
        kind="classification" if labels else "regression",
        inputs="features",
        input_size=series.flat.shape[1],
        output_size=1 if len(labels) in (0, 2) else len(labels),
        metric="accuracy" if labels else "mse",
        direction="max" if labels else "min",
        labels=labels,
        notes=notes,
    )
    return Splits(train, validation, test, task)
