"""Several labels or several numbers of each example: from a list, a text with a separator, or columns."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatescope.data.encoding.targets import SEPARATORS, TargetKind
from gatescope.data.errors import DataError
from gatescope.data.files.labels import Labels, label_text, shorten, sort_labels

FLAGS = {"0": False, "1": True, "false": False, "true": True}
"""What a column of one label may hold, in lower case."""


def make_labels(
    files: Mapping[str, Path], kind: TargetKind, columns: str | Sequence[str], separator: str = ","
) -> Labels:
    """Return the collection of the labels or numbers of a file.

    Args:
        files: by part, in the order in which they are read.
        kind: what is predicted.
        columns: name of the column of the labels, or the names of several.
        separator: between the labels of a text, for multilabel: the text itself, or a name of `SEPARATORS`.

    Raises:
        DataError: several columns are given for a classification, or one label for multilabel.
    """
    if isinstance(columns, str):
        if kind == "multilabel":
            return LabelSets(files, columns, separator)
        return Labels(files, kind, columns)
    names = tuple(columns)
    if kind == "classification":
        raise DataError(
            f"data.label=[{','.join(names)}]: a classification has one column of labels; several columns "
            "need data.kind=multilabel (columns of 0 and 1) or data.kind=regression (numbers)"
        )
    if len(set(names)) < max(len(names), 2):
        raise DataError(f"data.label=[{','.join(names)}]: give the names of two or more different columns")
    return LabelColumns(files, names) if kind == "multilabel" else NumberColumns(files, names)


class LabelSets(Labels):
    """Any number of labels of each example: a list, or a text in which a separator stands between them.

    Args:
        files: by part, in the order in which they are read.
        column: name of the labels in the files.
        separator: between the labels of a text.
    """

    def __init__(self, files: Mapping[str, Path], column: str, separator: str = ",") -> None:
        super().__init__(files, "multilabel", column)
        self.separator = separator
        self._members, self._sizes = array("i"), array("i")
        """The labels of all examples by their indices, one example after the other; how many each has."""

    def _problem_of(self, value: Any) -> str:
        if value is None:
            return "missing; [] is an example without labels"
        if isinstance(value, list | tuple):
            wrong = [one for one in value if super(LabelSets, self)._problem_of(one)]
            return f"{shorten(wrong[0])} is not a label" if wrong else ""
        return super()._problem_of(value) if value != "" else ""

    def _append(self, part: str, value: Any, where: str) -> None:
        labels = dict.fromkeys(split_labels(value, self.separator))
        self._members.extend([self._index_of(part, label, where) for label in labels])
        self._sizes.append(len(labels))

    def targets(self) -> tuple[Tensor, tuple[str, ...]]:
        """Return the targets of all examples.

        Returns:
            (N, K) float32, 1 for each label of an example; and the names of the labels in order.

        Raises:
            DataError: There are no two labels, no example has several or none, or a label does not occur in
                the train file.
        """
        names = self._names()
        for part in self.files:
            self._refuse_unknown(part, set(names))
        order = {name: i for i, name in enumerate(names)}
        column_of_index = np.array([order[name] for name in self._index])
        sizes = np.frombuffer(self._sizes, dtype=np.int32)
        values = torch.zeros(len(sizes), len(names))
        rows = np.repeat(np.arange(len(sizes)), sizes)
        values[rows, column_of_index[np.frombuffer(self._members, dtype=np.int32)]] = 1
        return values, tuple(names)

    def _names(self) -> list[str]:
        """Return the names of the labels in order."""
        names = sort_labels([label for part, label in self._occurrences if part == "train"])
        place = f"{self.files['train']}, column {self.column}"
        if len(names) < 2:
            found = f"the only label is {shorten(names[0])}" if names else "no row has a label"
            raise DataError(f"{place}: {found}, a task of several labels needs two")
        if set(self._sizes) == {1}:
            raise DataError(
                f"{place}: every row has one label: use data.kind=classification, or, if labels are not "
                f"separated by {self.separator!r}, data.label_separator (such as {', '.join(SEPARATORS)})"
            )
        return names


class LabelColumns(LabelSets):
    """A column of 0 and 1 for each label.

    Args:
        files: by part, in the order in which they are read.
        columns: names of the labels and of their columns.
    """

    def __init__(self, files: Mapping[str, Path], columns: tuple[str, ...]) -> None:
        super().__init__(files, ", ".join(columns))
        self.columns = columns
        self._index = {name: i for i, name in enumerate(columns)}

    def _problem_of(self, value: Any) -> str:
        return _first_problem(self.columns, value, lambda one: _flag(one) is None, "is neither 0 nor 1")

    def _append(self, part: str, value: Any, where: str) -> None:
        members = [i for i, one in enumerate(value) if _flag(one)]
        self._members.extend(members)
        self._sizes.append(len(members))

    def _names(self) -> list[str]:
        return list(self.columns)


class NumberColumns(Labels):
    """A column of numbers for each output of a regression.

    Args:
        files: by part, in the order in which they are read.
        columns: names of the outputs and of their columns.
    """

    def __init__(self, files: Mapping[str, Path], columns: tuple[str, ...]) -> None:
        super().__init__(files, "regression", ", ".join(columns))
        self.columns = columns

    def _problem_of(self, value: Any) -> str:
        return _first_problem(self.columns, value, super()._problem_of, "is not a finite number")

    def _append(self, part: str, value: Any, where: str) -> None:
        self._values.extend([float(one) for one in value])
        for one in value:
            self._note_thousands(one)

    def targets(self) -> tuple[Tensor, tuple[str, ...]]:
        """Return the targets (N, K) float32 of all examples, and the names of the outputs."""
        self._warn_of_thousands()
        values = np.frombuffer(self._values, dtype=np.float64).reshape(-1, len(self.columns))
        return torch.from_numpy(values.astype(np.float32)), self.columns


def split_labels(value: Any, separator: str) -> list[str]:
    """Return the labels of an example: those of a list, or of a text with separators; blanks are dropped."""
    if not isinstance(value, list | tuple | str):
        value = [value]
    parts = value.split(SEPARATORS.get(separator, separator)) if isinstance(value, str) else value
    return [label for part in parts if (label := label_text(part))]


def flags(value: Sequence[Any], names: Sequence[str]) -> list[str] | None:
    """Return the labels whose columns hold 1; None if a column holds neither 0 nor 1."""
    found = [_flag(one) for one in value]
    if None in found:
        return None
    return [name for name, flag in zip(names, found, strict=True) if flag]


def _flag(value: Any) -> bool | None:
    """Return whether a column says that its label is there; None if it says neither."""
    return FLAGS.get(label_text(value).lower())


def _first_problem(columns: Sequence[str], values: Sequence[Any], is_wrong: Any, what: str) -> str:
    """Return what is wrong with the first wrong value of several columns; "" if all are valid."""
    for name, value in zip(columns, values, strict=True):
        if is_wrong(value):
            return f"{name}: {shorten(value)} {what}"
    return ""
