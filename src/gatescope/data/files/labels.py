"""Labels or target values of the user's files: collected row by row, checked, and divided into splits."""

from __future__ import annotations

import logging
import math
import re
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatescope.data.division import Division
from gatescope.data.encoding.targets import TaskKind
from gatescope.data.errors import DataError, Problems
from gatescope.data.files.sources import PARTS

log = logging.getLogger(__name__)

LARGEST = float(np.finfo(np.float32).max)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
"""A number that is 1000 times as large where a point separates thousands."""


class Labels:
    """The label or target value of each example of all files.

    Args:
        files: by part, in the order in which they are read.
        kind: classification, or regression on a real value; `target_columns` has the other kinds.
        column: name of the labels in the files.
    """

    def __init__(self, files: Mapping[str, Path], kind: TaskKind, column: str) -> None:
        self.files, self.kind, self.column = dict(files), kind, column
        self._parts, self._values = array("b"), array("d")
        self._thousands: str | bool | None = None
        self._index: dict[str, int] = {}
        self._occurrences: dict[tuple[str, str], list[Any]] = {}
        """By part and label: the place of its first occurrence, and the number of occurrences."""

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, part: str, value: Any, where: str, problems: Problems) -> bool:
        """Append the label of an example, or add a problem.

        Args:
            part: the part whose file is read.
            value: the label as it is in the file.
            where: place of the example in the file.
            problems: of the file.

        Returns:
            Whether the label is valid.
        """
        problem = self._problem_of(value)
        if problem:
            problems.add(f"{where}, column {self.column}", problem)
            return False
        self._parts.append(PARTS.index(part))
        self._append(part, value, where)
        return True

    def _append(self, part: str, value: Any, where: str) -> None:
        """Store a valid label."""
        is_number = self.kind == "regression"
        self._note_thousands(value)
        self._values.append(float(value) if is_number else self._index_of(part, label_text(value), where))

    def _note_thousands(self, value: Any) -> None:
        """Remember whether every number may have a point between thousands, as 750.000 in German."""
        if isinstance(value, str) and self._thousands is not False:
            self._thousands = value if THOUSANDS.fullmatch(value.strip()) else False

    def _warn_of_thousands(self) -> None:
        if isinstance(self._thousands, str) and len(self) > 2:
            log.warning(
                "%s, column %s: every number has a point before its last three digits, such as %s, which is "
                "read as %g; if the point separates thousands, give data.thousands=point",
                self.files["train"], self.column, self._thousands.strip(), float(self._thousands),
            )  # fmt: skip

    def _index_of(self, part: str, label: str, where: str) -> int:
        """Return the index of a label by order of occurrence, and count the occurrence."""
        self._occurrences.setdefault((part, label), [where, 0])[1] += 1
        return self._index.setdefault(label, len(self._index))

    def _problem_of(self, value: Any) -> str:
        """Return what is wrong with a label; "" if it is valid."""
        if value is None or (isinstance(value, str) and not value.strip()):
            return "missing"
        if isinstance(value, list | tuple):
            return "a list of labels: data.kind=multilabel reads them"
        if not isinstance(value, str | int | float | np.number):
            return f"a {type(value).__name__} is not a label"
        if self.kind != "regression" and isinstance(value, str):
            return ""
        number = to_number(value)
        if number is None:
            return f"{shorten(value)} is not a number"
        if math.isfinite(number) and abs(number) > LARGEST:
            return f"{shorten(value)} is larger than the largest number of float32, {LARGEST:.2g}"
        return "" if math.isfinite(number) else "NaN or infinity"

    def targets(self) -> tuple[Tensor, tuple[str, ...]]:
        """Return the targets of all examples.

        Returns:
            (N,) class indices and the names of the classes in order; for a regression (N,) float32 and ().

        Raises:
            DataError: there is one class only, or a label does not occur in the train file.
        """
        values = np.frombuffer(self._values, dtype=np.float64)
        if self.kind == "regression":
            self._warn_of_thousands()
            return torch.from_numpy(values.astype(np.float32)), ()
        names = sort_labels([label for part, label in self._occurrences if part == "train"])
        if not names:
            raise DataError(f"{self.files['train']}, column {self.column}: no row")
        if len(names) < 2:
            count = self._occurrences["train", names[0]][1]
            raise DataError(
                f"{self.files['train']}, column {self.column}: all {count} rows have the label "
                f"{shorten(names[0])}, a classification needs two classes"
            )
        for part in self.files:
            self._refuse_unknown(part, set(names))
        order = {name: i for i, name in enumerate(names)}
        class_of_index = np.array([order[name] for name in self._index])
        return torch.from_numpy(class_of_index[values.astype(np.int64)]), tuple(names)

    def _refuse_unknown(self, part: str, known: set[str]) -> None:
        problems = Problems(self.files[part])
        for (own_part, label), (where, count) in self._occurrences.items():
            if own_part == part and label not in known:
                problems.add(
                    f"{where}, column {self.column}",
                    f"label {shorten(label)} is not in {self.files['train'].name} ({count} rows)",
                )
        problems.check()

    def split(self, division: Division, groups: np.ndarray | None = None) -> list[np.ndarray]:
        """Divide the examples into splits: by file, or as `division` says; classes are stratified.

        Args:
            division: of the train file; a part with a file of its own gets none of its examples.
            groups: (N,) examples of one group are kept in one split.

        Returns:
            Indices of the train, validation and test examples.

        Raises:
            DataError: there are too few examples to divide.
        """
        parts = np.frombuffer(self._parts, dtype=np.int8)
        train = np.flatnonzero(parts == 0)
        if not len(train):
            raise DataError(f"{self.files['train']}: no rows")
        given = {part: np.flatnonzero(parts == PARTS.index(part)) for part in self.files if part != "train"}
        strata = np.frombuffer(self._values).astype(np.int64) if self.kind == "classification" else None
        try:
            splits = division.split(train, strata, groups, given) | given
        except DataError as error:
            raise DataError(f"{self.files['train']}: {error}") from error
        except ValueError as error:
            raise DataError(
                f"{self.files['train']}: {self._counts(train)}, too few to split: {error}"
            ) from error
        assert sum(map(len, splits.values())) == len(parts)
        if strata is not None and groups is not None:
            self._warn_of_absent(strata, splits["train"])
        return [splits[part] for part in PARTS]

    def _warn_of_absent(self, strata: np.ndarray, train: np.ndarray) -> None:
        """Warn of classes of which all examples are in groups of validation and test."""
        present = set(np.unique(strata[train]).tolist())
        absent = [shorten(name) for name, i in self._index.items() if i not in present]
        if absent:
            names = ", ".join(absent[:5])
            log.warning("no example of train has the label %s: all are in groups of other splits", names)

    def strata(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the class of each of these examples, (M,); None if they have no single class."""
        return np.frombuffer(self._values)[rows] if self.kind == "classification" else None

    def _counts(self, rows: np.ndarray) -> str:
        if self.kind != "classification":
            return f"{len(rows)} rows"
        values = np.frombuffer(self._values, dtype=np.float64)[rows].astype(np.int64)
        counts = np.bincount(values, minlength=len(self._index))
        smallest = counts[counts > 0].min()
        rarest = next(name for name, i in self._index.items() if counts[i] == smallest)
        hint = "; for numbers use data.kind=regression" if len(self._index) > len(rows) / 2 else ""
        return (
            f"{len(rows)} rows of {len(self._index)} classes in column {self.column}, label "
            f"{shorten(rarest)} in {smallest} of them{hint}"
        )


def to_number(value: Any) -> float | None:
    """Return a value as a number, or None if it is not one: 1_000 is one in Python, and not in a file."""
    if isinstance(value, str) and "_" in value:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def label_text(value: Any) -> str:
    """Return a label as text without surrounding blanks; 1.0 and 1 are the same label."""
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def sort_labels(labels: Sequence[str]) -> list[str]:
    """Sort labels: by value if all are numbers, else as text."""
    numbers = {label: to_number(label) for label in labels}
    if any(number is None for number in numbers.values()):
        return sorted(labels)
    return sorted(labels, key=lambda label: (numbers[label], label))


def shorten(value: Any) -> str:
    """Return the representation of a value, cut after 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…'"
