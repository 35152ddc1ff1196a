"""The part of a report on errors: calibration, classes and the test examples that most seeds get wrong.

Its tables lie beside the others as CSV, so that a report outlives the records:

    tables/confusion.csv     counts: variant, condition, true, predicted, n
    tables/classes.csv       precision, recall, f1, n of each class
    tables/calibration.csv   calibration error and Brier score: mean over seeds with its interval
    tables/errors.csv        the worst errors with their texts
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from gatescope.analysis import contrasts, error_tables, errors
from gatescope.analysis.runs import Tables
from gatescope.analysis.statistics import Estimate, mean_interval
from gatescope.tracking.predictions import classes

WORST = 20
"""Errors of a variant in the CSV; the page shows the first `ON_PAGE`, the README the first `IN_README`."""
ON_PAGE, IN_README = 10, 5
MOST_CLASSES = 12
"""Rows of a README's table of classes: the hardest ones."""
MOST_ROWS = 1000
"""Rows of the page's table of classes."""
LONGEST = 160
"""Characters of a text that are shown."""
FILES = ("confusion", "classes", "calibration", "errors")

FindTexts = Callable[[Mapping[str, Any], pd.DataFrame], errors.Texts | None]
"""A run's config and predictions -> the way from ids to texts, or None."""


@dataclass(frozen=True)
class Score:
    """How far probabilities can be believed, over the seeds of one variant and condition."""

    variant: str
    condition: str
    examples: int
    calibration_error: Estimate
    brier: Estimate


@dataclass(frozen=True)
class Worst:
    """The worst errors of one variant and condition; `leads`: it has the best mean under its condition."""

    variant: str
    condition: str
    table: pd.DataFrame
    leads: bool = False

    def rows(self, count: int) -> list[list[str]]:
        """The first ones as text, headings first."""
        table = self.table.head(count)
        if "wrong" in table:
            wrong = [f"{w} of {n}" for w, n in zip(table.wrong, table.runs, strict=True)]
            table = table.assign(wrong=wrong)
        return [list(row) for row in error_tables.rows(table.drop(columns="runs"), LONGEST)]


@dataclass(frozen=True)
class Section:
    """What README and page show.

    Attributes:
        classes: a row a variant, condition and class: precision, recall, f1, n.
        notes: why something is not shown.
    """

    scores: list[Score]
    classes: pd.DataFrame
    confusion: pd.DataFrame
    worst: list[Worst]
    notes: list[str]

    def class_rows(self) -> list[dict[str, Any]]:
        """Of the page: at most `MOST_ROWS`, the lowest F1 first where there are more."""
        table = self.classes
        if len(table) > MOST_ROWS:
            table = table.sort_values("f1", kind="stable").head(MOST_ROWS)
        return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]

    @property
    def led(self) -> list[Worst]:
        """Of the best variant of each condition: what a README has room for."""
        return [one for one in self.worst if one.leads]

    def hardest(self, most: int = MOST_CLASSES) -> list[dict[str, Any]]:
        """By condition, F1 of each class by variant, the hardest classes first: condition, variants, rows
        (class, f1 by variant, n) and how many classes there are."""
        found = []
        for condition, part in self.classes.groupby("condition", sort=False):
            wide = part.pivot(index="class", columns="variant", values="f1")[list(part.variant.unique())]
            n = part.groupby("class").n.max()
            order = wide.mean(axis=1).sort_values(kind="stable").index[:most]
            rows = [(name, wide.loc[name].tolist(), int(n[name])) for name in order]
            found.append({"condition": condition, "variants": list(wide), "rows": rows, "classes": len(wide)})
        return found


def section(tables: Tables, find_texts: FindTexts | None = None) -> Section | None:
    """Of the finished runs; None where none of them has kept predictions."""
    groups = errors.groups(tables)
    if not groups:
        return None
    classified = [group for group in groups if classes(group.runs[next(iter(group.runs))])]
    notes: list[str] = []
    found = [_worst(tables, group, find_texts, notes) for group in groups]
    worst = [one for one in found if one is not None]
    return Section(
        [_score(group) for group in classified],
        _concat([errors.per_class(group.pooled).assign(**group.key) for group in classified]),
        _concat([_counts(group) for group in classified]),
        _with_leaders(tables, worst),
        list(dict.fromkeys(notes)),
    )


def write(found: Section | None, folder: Path) -> None:
    """Writes the tables of a report; those of an older report that this one has not are removed."""
    tables: dict[str, pd.DataFrame] = {}
    if found is not None:
        tables = {"confusion": found.confusion, "classes": found.classes, "calibration": _scores(found)}
        shown = [one.table.assign(variant=one.variant, condition=one.condition) for one in found.worst]
        tables["errors"] = _concat(shown)
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        path = folder / f"{name}.csv"
        table = tables.get(name)
        if table is None or table.empty:
            path.unlink(missing_ok=True)
        else:
            path.write_text(error_tables.csv(table), encoding="utf-8")


def _worst(
    tables: Tables, group: errors.Group, find_texts: FindTexts | None, notes: list[str]
) -> Worst | None:
    place = f"{group.variant} ({group.condition})" if group.condition else group.variant
    runs = list(group.runs.values())
    if not errors.same_examples(runs):
        notes.append(f"the seeds of {place} were not tested on the same examples: their errors are not shown")
        return None
    texts = None
    if find_texts is not None:
        run_id, predictions = next(iter(group.runs.items()))
        texts = find_texts(tables.configs.get(run_id, {}), predictions)
        if texts is None:
            notes.append(f"the texts of {group.condition or 'the test split'} are not at hand")
    return Worst(group.variant, group.condition, errors.worst_over_seeds(runs, WORST, texts))


def _with_leaders(tables: Tables, worst: list[Worst]) -> list[Worst]:
    """Marks the best variant of each condition, or the first where the best has no errors to show."""
    leading: dict[str, str] = {}
    for one in worst:
        leader = contrasts.leader(tables, one.condition)
        if one.condition not in leading or (leader is not None and leader[0] == one.variant):
            leading[one.condition] = one.variant
    return [replace(one, leads=leading[one.condition] == one.variant) for one in worst]


def _score(group: errors.Group) -> Score:
    every = [errors.scores(one) for one in group.runs.values()]
    return Score(
        group.variant,
        group.condition,
        int(max(one["examples"] for one in every)),
        mean_interval([one["calibration_error"] for one in every]),
        mean_interval([one["brier"] for one in every]),
    )


def _scores(found: Section) -> pd.DataFrame:
    rows = [
        {"variant": one.variant, "condition": one.condition, "examples": one.examples}
        | {f"calibration_error/{name}": value for name, value in vars(one.calibration_error).items()}
        | {f"brier/{name}": value for name, value in vars(one.brier).items()}
        for one in found.scores
    ]
    return pd.DataFrame(rows)


def _counts(group: errors.Group) -> pd.DataFrame:
    return errors.cells(errors.confusion(group.pooled)).assign(**group.key).drop(columns="share")


def _concat(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """One below the other, variant and condition first."""
    if not parts:
        return pd.DataFrame(columns=["variant", "condition"])
    table = pd.concat(parts, ignore_index=True)
    return table[["variant", "condition", *(c for c in table if c not in ("variant", "condition"))]]
