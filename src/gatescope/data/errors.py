"""The error that every dataset raises, and a collector for several problems of one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

MAX_SHOWN = 5
"""Number of problems that a message lists; the others are counted."""


class DataError(ValueError):
    """The data do not fit the task; the message names the row and the remedy."""

    exit_code = 2
    """Exit code of train.py, the same as for an invalid config."""


@dataclass
class Problems:
    """Problems found in one file or folder: the first five in words, and the number of all.

    Args:
        path: of the file or folder, the start of the message.
    """

    path: str | Path
    shown: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, where: str, what: str) -> None:
        """Add a problem; `where` is its row and column, "" for the file as a whole."""
        self.count += 1
        if len(self.shown) < MAX_SHOWN:
            self.shown.append(f"{where}: {what}" if where else what)

    def add_all(self, places: Sequence[str], count: int, what: str) -> None:
        """Add `count` problems of one kind; `places` holds the first of them."""
        for place in places:
            self.add(place, what)
        self.count += count - len(places)

    def check(self) -> None:
        """Raise an error if there are problems.

        Raises:
            DataError: at least one problem was added; the message lists the first five.
        """
        if self.count == 1:
            raise DataError(f"{self.path}: {self.shown[0]}")
        if self.count:
            more = f", the first {MAX_SHOWN}" if self.count > MAX_SHOWN else ""
            lines = "".join(f"\n  {problem}" for problem in self.shown)
            raise DataError(f"{self.path}: {self.count} problems{more}:{lines}")
