"""The keys of cross-validation in a config: checks that need no data. This module does not import torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def fold_problems(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with `folds`, `fold` and `group` of a data section, apart from their types."""
    if not {"folds", "fold"} <= data.keys():
        return
    folds, fold = data["folds"], data["fold"]
    if folds is None:
        if fold is not None:
            yield f"data.fold: given {fold} without data.folds: give also data.folds=5, say"
        return
    if fold is None:
        choices = ",".join(map(str, range(min(folds, 10)))) if type(folds) is int and folds > 1 else "0,1,2"
        yield (
            f"data.fold: missing, data.folds={folds} needs it: give data.fold=0 for one of the folds, or "
            f"-m data.fold={choices} for a run on each"
        )
    elif type(folds) is int and type(fold) is int and fold >= folds:
        yield f"data.fold: given {fold}, allowed: 0 to {folds - 1}, as data.folds={folds}"
    yield from (
        f"data.folds: given {folds} and data.{key}, and the test split can be only one of both: remove one"
        for key in ("test_path", "x_test")
        if data.get(key) is not None
    )
    if folds == "groups" and "group" in data and data["group"] is None:
        yield "data.folds: given groups without data.group: give the column of the groups, data.group=…"
    if folds == "groups" and data.get("split_by") == "example":
        yield "data.folds: given groups, and examples have none: give data.split_by=speaker"
