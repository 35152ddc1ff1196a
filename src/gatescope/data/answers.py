"""Labels or numbers of people's own files: gathered row by row, checked, and divided into splits."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from torch import Tensor

from gatescope.data.errors import DataError
from gatescope.data.rows import Problems

Answer = Literal["classification", "regression"]
PARTS = ("train", "validation", "test")
"""The files that examples come from. What lacks a file of its own is cut from train's."""


def own_file(path: str) -> Path:
    return Path(path).expanduser()


def own_files(path: str, validation_path: str | None, test_path: str | None) -> dict[str, Path]:
    """The files given, by part."""
    given = {"train": path, "validation": validation_path, "test": test_path}
    return {part: own_file(name) for part, name in given.items() if name is not None}


def digests(files: Mapping[str, Path]) -> dict[str, Any]:
    """Facts for the record: what was read, and a digest of its bytes."""
    facts: dict[str, Any] = {"source": ", ".join(path.name for path in files.values())}
    for part, path in files.items():
        with path.open("rb") as file:
            facts[f"{part}_sha256"] = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return facts


class Answers:
    """What each example of all files is to be answered with.

    Args:
        files: by part, in the order in which they are read.
        kind: classification, or regression on a real number.
        column: what the files call it.
    """

    def __init__(self, files: Mapping[str, Path], kind: Answer, column: str) -> None:
        self.files, self.kind, self.column = dict(files), kind, column
        self._parts, self._values = array("b"), array("d")
        self._index: dict[str, int] = {}
        self._seen: dict[tuple[str, str], list[Any]] = {}
        """By part and label: where it stands first, and how often."""

    def __len__(self) -> int:
        return len(self._values)

    def add(self, part: str, value: Any, where: str, problems: Problems) -> bool:
        """Keeps one answer; False, and a problem told, where it is none."""
        place = f"{where}, column {self.column}"
        if value is None or (isinstance(value, str) and not value.strip()):
            problems.add(place, "missing")
            return False
        if not isinstance(value, str | int | float | np.number):
            problems.add(place, f"a {type(value).__name__} is no label")
            return False
        number = as_number(value) if self.kind == "regression" or not isinstance(value, str) else 0.0
        if number is None or not math.isfinite(number):
            problems.add(place, f"{shortened(value)} is no number" if number is None else "NaN or infinity")
            return False
        if self.kind == "classification":
            label = as_label(value)
            number = self._index.setdefault(label, len(self._index))
            self._seen.setdefault((part, label), [where, 0])[1] += 1
        self._parts.append(PARTS.index(part))
        self._values.append(number)
        return True

    def targets(self) -> tuple[Tensor, tuple[str, ...]]:
        """(N,) class indices and the classes' names in order, or (N,) float32 and no names.

        Raises:
            DataError: one class only, or a label that the train file lacks.
        """
        values = np.frombuffer(self._values, dtype=np.float64)
        if self.kind == "regression":
            return torch.from_numpy(values.astype(np.float32)), ()
        names = in_order([label for part, label in self._seen if part == "train"])
        if len(names) < 2:
            raise DataError(
                f"{self.files['train']}, column {self.column}: one class only, {shortened(names[0])}, in all "
                f"{self._seen['train', names[0]][1]} rows: there is nothing to tell apart"
            )
        for part in self.files:
            self._refuse_unknown(part, set(names))
        order = {name: i for i, name in enumerate(names)}
        table = np.array([order[name] for name in self._index])
        return torch.from_numpy(table[values.astype(np.int64)]), tuple(names)

    def _refuse_unknown(self, part: str, known: set[str]) -> None:
        problems = Problems(self.files[part])
        for (where_part, label), (where, count) in self._seen.items():
            if where_part == part and label not in known:
                problems.add(
                    f"{where}, column {self.column}",
                    f"label {shortened(label)} is not in {self.files['train'].name} ({count} rows)",
                )
        problems.check()

    def rows(self, validation: float, test: float, seed: int, groups: np.ndarray | None = None) -> Rows:
        """Indices of train's, validation's and test's examples: a split's own file, else a share of the
        train file, stratified by class; with `groups` (N,), examples of one group stay together.

        Raises:
            DataError: too few examples to cut from.
        """
        parts = np.frombuffer(self._parts, dtype=np.int8)
        train, given, total = np.flatnonzero(parts == 0), {}, len(parts)
        if not len(train):
            raise DataError(f"{self.files['train']}: no rows")
        left = 1.0
        for part, share in (("test", test), ("validation", validation)):
            if part in self.files:
                given[part] = np.flatnonzero(parts == PARTS.index(part))
            else:
                train, given[part] = self._cut(train, share / left, seed, groups)
                left -= share
        assert len(train) + sum(map(len, given.values())) == total
        return [train, given["validation"], given["test"]]

    def _cut(
        self, rows: np.ndarray, share: float, seed: int, groups: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        try:
            if groups is not None:
                cutter = GroupShuffleSplit(1, test_size=share, random_state=seed)
                rest, cut = next(cutter.split(rows, groups=groups[rows]))
                return rows[rest], rows[cut]
            strata = np.frombuffer(self._values)[rows] if self.kind == "classification" else None
            rest, cut = train_test_split(rows, test_size=share, stratify=strata, random_state=seed)
            return rest, cut
        except ValueError as error:
            raise DataError(
                f"{self.files['train']}: {self._too_few(rows)}, not enough to cut from: {error}"
            ) from error

    def _too_few(self, rows: np.ndarray) -> str:
        if self.kind == "regression":
            return f"{len(rows)} rows"
        values = np.frombuffer(self._values, dtype=np.float64)[rows].astype(np.int64)
        counts = np.bincount(values, minlength=len(self._index))
        rarest = [name for name, i in self._index.items() if counts[i] == counts[counts > 0].min()]
        hint = "; is it a number? then data.kind=regression" if len(self._index) > len(rows) / 2 else ""
        return (
            f"{len(rows)} rows of {len(self._index)} classes in column {self.column}, label "
            f"{shortened(rarest[0])} in {counts[counts > 0].min()} of them{hint}"
        )


Rows = list[np.ndarray]


def as_number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def as_label(value: Any) -> str:
    """Text without blanks around it; 1.0 is 1, so that files may write numbers as they like."""
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def in_order(labels: Sequence[str]) -> list[str]:
    """By number where all are numbers, else by letter."""
    numbers = {label: as_number(label) for label in labels}
    if any(number is None for number in numbers.values()):
        return sorted(labels)
    return sorted(labels, key=lambda label: (numbers[label], label))


def shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…'"
