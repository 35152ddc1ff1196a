"""Division of examples into train, validation and test: by share, or one of several folds as the test split.

Cross-validation tests on each example once: `folds` parts that have no example in common, one run for each of
them (`fold`), which trains and validates on the others. scikit-learn divides: stratified by class, by group
(no group is in two splits), or both; with folds="groups" each group is a fold.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
    StratifiedKFold,
    train_test_split,
)

from gatescope.data.errors import DataError

FoldCount = Annotated[int, Field(ge=2)] | None
"""Number of folds, for data without groups; None for splits by share."""
Folds = FoldCount | Literal["groups"]
"""Number of folds; "groups" for one per group; None for splits by share."""
Fold = Annotated[int, Field(ge=0)] | None
"""Number of the fold that is the test split, from 0; None without folds."""


@dataclass(frozen=True)
class Division:
    """How examples are divided.

    Args:
        validation: share of the examples; of the groups, if there are groups and no folds.
        test: as `validation`; unused with `folds`.
        seed: of the division; all folds of one seed are parts of the same division.
        folds: number of folds, "groups" for one per group, or None.
        fold: number of the fold that is the test split.
    """

    validation: float
    test: float
    seed: int
    folds: int | Literal["groups"] | None = None
    fold: int | None = None

    def split(
        self,
        rows: np.ndarray,
        strata: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        given: Collection[str] = (),
    ) -> dict[str, np.ndarray]:
        """Divide examples.

        Args:
            rows: (M,) indices of the examples.
            strata: (N,) class of each example, of which each split gets its share; None without classes.
            groups: (N,) group of each example; no group is in two splits.
            given: parts that have examples of their own, and get none of these: "validation", "test".

        Returns:
            The indices of train, and of the parts that are not given.

        Raises:
            DataError: there are too few groups or folds.
            ValueError: there are too few examples; scikit-learn's message.
        """
        parts: dict[str, np.ndarray] = {}
        remaining = 1.0
        if "test" not in given:
            if self.folds is None:
                rows, parts["test"] = self._cut(rows, self.test, strata, groups)
                remaining -= self.test
            else:
                count = len(rows)
                rows, parts["test"] = self._take_fold(rows, strata, groups)
                remaining = len(rows) / count
        if "validation" not in given:
            rows, parts["validation"] = self._cut(rows, self.validation / remaining, strata, groups)
        return {"train": rows} | parts

    def notes(self, groups: np.ndarray | None = None, names: Collection[str] = ()) -> dict[str, Any]:
        """Return facts for the record: which fold of how many, and the group if each group is a fold.

        Args:
            groups: (N,) index into `names` for each example that is divided.
            names: of the groups, sorted.
        """
        present = () if groups is None else np.unique(groups)
        notes: dict[str, Any] = {} if groups is None else {"groups": len(present)}
        if self.folds is None or self.fold is None:
            return notes
        notes |= {"folds": len(present) if self.folds == "groups" else self.folds, "fold": self.fold}
        if self.folds == "groups":
            notes["test_group"] = list(names)[present[self.fold]]
        return notes

    def _take_fold(
        self, rows: np.ndarray, strata: np.ndarray | None, groups: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the examples of the other folds, and those of the fold."""
        assert self.folds is not None
        assert self.fold is not None
        y = None if strata is None else strata[rows]
        own = None if groups is None else groups[rows]
        options: dict[str, Any] = {"shuffle": True, "random_state": self.seed}
        splitter: Any
        if own is None:
            assert self.folds != "groups"
            splitter = (KFold if y is None else StratifiedKFold)(self.folds, **options)
            folds: int = self.folds
        else:
            count = len(np.unique(own))
            folds = count if self.folds == "groups" else self.folds
            if count < max(folds, 2):
                raise DataError(f"data.folds: given {self.folds}, and there are only {count} group(s)")
            if self.fold >= folds:
                raise DataError(
                    f"data.fold: given {self.fold}, allowed: 0 to {folds - 1}, one for each group"
                )
            if self.folds == "groups":
                splitter = LeaveOneGroupOut()
            else:
                splitter = (GroupKFold if y is None else StratifiedGroupKFold)(folds, **options)
        with warnings.catch_warnings():
            # A class with fewer examples than folds: groups cannot be stratified exactly, examples can.
            warnings.filterwarnings("error" if own is None else "ignore", "The least populated class")
            try:
                rest, test = list(splitter.split(rows, y, own))[self.fold]
            except UserWarning as warning:
                raise ValueError(f"fewer than the {folds} folds; lower data.folds") from warning
        if not len(test):
            raise DataError(f"data.folds: given {folds}, and fold {self.fold} has no group; give fewer folds")
        return rows[rest], rows[test]

    def _cut(
        self, rows: np.ndarray, share: float, strata: np.ndarray | None, groups: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rest, and about `share` of the examples."""
        y = None if strata is None else strata[rows]
        if groups is None:
            rest, cut = train_test_split(rows, test_size=share, stratify=y, random_state=self.seed)
            return rest, cut
        own = groups[rows]
        if self.folds is None or y is None:
            shuffled = GroupShuffleSplit(1, test_size=share, random_state=self.seed)
            rest, cut = next(shuffled.split(rows, groups=own))
            return rows[rest], rows[cut]
        count = len(np.unique(own))
        if count < 2:
            raise DataError(
                "data.group: validation needs a group of its own, and there are only two; "
                "give data.validation_path, or a column with more groups"
            )
        parts = StratifiedGroupKFold(
            max(2, min(round(1 / share), count)), shuffle=True, random_state=self.seed
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The least populated class")
            rest, cut = next((r, c) for r, c in parts.split(rows, y, own) if len(r) and len(c))
        return rows[rest], rows[cut]
