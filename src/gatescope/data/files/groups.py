"""The group of each example of the user's files (speaker, patient), none of which is in two splits."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gatescope.data.division import Division
from gatescope.data.errors import Problems
from gatescope.data.files.labels import label_text, shorten
from gatescope.data.files.table_form import Column
from gatescope.data.files.table_reader import Row


class Groups:
    """The groups, collected row by row.

    Args:
        files: by part, in the order in which they are read.
        column: name or position of the column, or name of the array of the groups; None where there are none.
    """

    def __init__(self, files: Mapping[str, Path], column: Column | None) -> None:
        self.files, self.column = files, column
        self.columns: tuple[Column, ...] = () if column is None else (column,)
        self._values = array("q")
        self._index: dict[str, int] = {}
        self._file_of: dict[str, str] = {}
        self._in_train = 0

    def take(self, part: str, row: Row, problems: Problems) -> Row:
        """Read the group, the last value of a row, or add a problem; return the row without it."""
        if self.column is None:
            return row
        self.add(part, row.values[-1], f"{row.where}, column {self.column}", problems)
        return Row(row.where, row.values[:-1])

    def add(self, part: str, value: Any, where: str, problems: Problems) -> None:
        """Append the group of an example, or add a problem.

        Args:
            part: the part whose file is read.
            value: the group as it is in the file.
            where: place of the value in the file.
            problems: of the file.
        """
        if value is None or (isinstance(value, str) and not value.strip()):
            problems.add(where, "missing: data.group needs a group in each row")
            return
        if not isinstance(value, str | int | float | np.number):
            problems.add(where, f"a {type(value).__name__} is not a group")
            return
        group = label_text(value)
        if self._file_of.setdefault(group, part) != part:
            other = self.files[self._file_of[group]].name
            problems.add(where, f"group {shorten(group)} is in {other} as well; a group is in one split only")
        self._values.append(self._index.setdefault(group, len(self._index)))
        self._in_train += part == "train"

    def add_all(self, part: str, values: Iterable[Any], name: str) -> None:
        """Append the groups of all examples of a file.

        Raises:
            DataError: a value is no group; the message lists the first five.
        """
        problems = Problems(self.files[part])
        for i, value in enumerate(values):
            self.add(part, value, f"{name}[{i}]", problems)
        problems.check()

    @property
    def names(self) -> list[str]:
        """The names of the groups, sorted."""
        return sorted(self._index)

    @property
    def array(self) -> np.ndarray | None:
        """The group (N,) int64 of each example, as an index into `names`; None where there are none."""
        if self.column is None:
            return None
        order = {name: i for i, name in enumerate(self.names)}
        rank = np.array([order[name] for name in self._index], dtype=np.int64)
        found: np.ndarray = rank[np.frombuffer(self._values, dtype=np.int64)]
        return found

    def notes(self, division: Division) -> dict[str, Any]:
        """Return facts for the record: how many groups the train file has, and which fold is tested."""
        groups = self.array
        return division.notes(None if groups is None else groups[: self._in_train], self.names)
