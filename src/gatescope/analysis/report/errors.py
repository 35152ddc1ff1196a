"""The section of a report on errors: calibration, classes, and the test examples that most seeds get wrong.

Its tables are written as CSV as well, so that a report does not depend on the records:

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

from gatescope.analysis import error_tables, errors
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.report.tables import csv
from gatescope.analysis.statistics import Estimate
from gatescope.analysis.tables import Texts
from gatescope.analysis.units import unit_metric
from gatescope.invocation import command
from gatescope.tracking.predictions import classes

MAX_ERRORS = 20
"""Errors of a variant in the CSV; page and README show the first ones."""
MAX_CLASSES = 12
"""Rows of the README's table of classes: the hardest ones."""
MAX_ROWS = 1000
"""Rows of the page's table of classes."""
MAX_CHARACTERS = 160
"""Characters of a text that are shown."""
FILES = ("confusion", "classes", "calibration", "errors")

FindTexts = Callable[[Mapping[str, Any], pd.DataFrame], Texts | None]
"""From a run's config and predictions to a lookup of texts by id; None where the texts are not available."""


@dataclass(frozen=True)
class CalibrationScore:
    """The calibration of one variant under one condition.

    Attributes:
        variant: the variant.
        condition: the condition.
        examples: number of test examples, those of all folds in a cross-validation.
        calibration_error: expected calibration error, mean over seeds or folds.
        brier: Brier score, mean over seeds or folds.
    """

    variant: str
    condition: str
    examples: int
    calibration_error: Estimate
    brier: Estimate


@dataclass(frozen=True)
class WorstErrors:
    """The worst errors of one variant under one condition.

    Attributes:
        variant: the variant.
        condition: the condition.
        table: a row per example, the worst first.
        leads: whether the variant has the best mean under its condition.
    """

    variant: str
    condition: str
    table: pd.DataFrame
    leads: bool = False

    def rows(self, count: int) -> list[list[str]]:
        """Return the first `count` rows as text, headings first."""
        table = self.table.head(count)
        if "wrong" in table:
            wrong = [f"{w} of {n}" for w, n in zip(table.wrong, table.runs, strict=True)]
            table = table.assign(wrong=wrong)
        return [list(row) for row in error_tables.rows(table.drop(columns="runs"), MAX_CHARACTERS)]


@dataclass(frozen=True)
class ErrorSection:
    """The contents of the section.

    Attributes:
        scores: calibration of each variant and condition with a classification.
        classes: a row per variant, condition and class: precision, recall, f1, n.
        confusion: a row per cell of a confusion matrix that is not 0: variant, condition, true, predicted, n.
        worst: the worst errors of each variant and condition.
        notes: why something is not shown.
    """

    scores: list[CalibrationScore]
    classes: pd.DataFrame
    confusion: pd.DataFrame
    worst: list[WorstErrors]
    notes: list[str]

    def class_rows(self) -> list[dict[str, Any]]:
        """Return at most `MAX_ROWS` rows of `classes`, those with the lowest F1 where there are more."""
        table = self.classes
        if len(table) > MAX_ROWS:
            table = table.sort_values("f1", kind="stable").head(MAX_ROWS)
        return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]

    @property
    def worst_of_leaders(self) -> list[WorstErrors]:
        """The worst errors of the best variant of each condition."""
        return [one for one in self.worst if one.leads]

    def hardest(self, count: int = MAX_CLASSES) -> list[dict[str, Any]]:
        """Return the F1 of the hardest classes by variant.

        Returns:
            One entry per condition: condition, variants, rows (class, F1 of each variant, n), hardest class
            first, and classes, the number of all classes.
        """
        result = []
        for condition, part in self.classes.groupby("condition", sort=False):
            wide = part.pivot(index="class", columns="variant", values="f1")[list(part.variant.unique())]
            n = part.groupby("class").n.max()
            order = wide.mean(axis=1).sort_values(kind="stable").index[:count]
            rows = [(name, wide.loc[name].tolist(), int(n[name])) for name in order]
            entry = {"condition": condition, "variants": list(wide), "rows": rows, "classes": len(wide)}
            result.append(entry)
        return result


def error_section(comparison: Comparison) -> ErrorSection | None:
    """Compute the section for the compared runs; None where none of them has kept predictions."""
    groups = errors.groups(comparison.tables)
    if not groups:
        return None
    classified = [group for group in groups if classes(group.runs[next(iter(group.runs))])]
    notes: list[str] = []
    worst = [_worst_errors(comparison, group, notes) for group in groups]
    return ErrorSection(
        [_calibration(comparison, group) for group in classified],
        _concat([errors.per_class(group.pooled).assign(**group.key) for group in classified]),
        _concat([_confusion(group) for group in classified]),
        _with_leaders(comparison, [one for one in worst if one is not None]),
        list(dict.fromkeys(notes)),
    )


def write(section: ErrorSection | None, folder: Path) -> None:
    """Write the tables of the section; those that an older report wrote and this one does not are removed."""
    tables: dict[str, pd.DataFrame] = {}
    if section is not None:
        worst = [
            one.table.assign(variant=one.variant, condition=one.condition)
            for one in section.worst
            if len(one.table)
        ]
        tables = {
            "confusion": section.confusion,
            "classes": section.classes,
            "calibration": _calibration_table(section),
            "errors": _concat(worst),
        }
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        path = folder / f"{name}.csv"
        table = tables.get(name)
        if table is None or table.empty:
            path.unlink(missing_ok=True)
        else:
            path.write_text(csv(table, "%.6g"), encoding="utf-8")


def _worst_errors(comparison: Comparison, group: errors.Group, notes: list[str]) -> WorstErrors | None:
    """Return the worst errors of a group; the reason why there are none, or no texts, goes into `notes`."""
    place = f"{group.variant} ({group.condition})" if group.condition else group.variant
    runs = list(group.runs.values())
    if comparison.tables.runs.set_index("run_id").fold[list(group.runs)].nunique() > 1:
        notes.append(
            f"each fold of {place} was tested on other examples: the errors of a run are listed by "
            f"`{command('errors')} run=…`"
        )
        return None
    if not errors.same_examples(runs):
        notes.append(f"the seeds of {place} were not tested on the same examples: their errors are not shown")
        return None
    table = errors.worst_over_seeds(runs, MAX_ERRORS)
    first = next(iter(group.runs))
    # Data are read for texts that are shown: a series has none.
    is_series = comparison.tables.tasks.get(first, {}).get("inputs") == "features"
    if len(table) and not is_series and comparison.tables.find_texts is not None:
        texts = comparison.tables.find_texts(first)
        if texts is None:
            notes.append(f"the texts of {group.condition or 'the test split'} are not available")
        else:
            table = errors.with_texts(table, texts)
    return WorstErrors(group.variant, group.condition, table)


def _with_leaders(comparison: Comparison, worst: list[WorstErrors]) -> list[WorstErrors]:
    """Mark the best variant of each condition, or the first where the best one has no errors to show."""
    leaders: dict[str, str] = {}
    for one in worst:
        leader = comparison.leaders.get(one.condition)
        if one.condition not in leaders or (leader is not None and leader.variant == one.variant):
            leaders[one.condition] = one.variant
    return [replace(one, leads=leaders[one.condition] == one.variant) for one in worst]


def _calibration(comparison: Comparison, group: errors.Group) -> CalibrationScore:
    scores = pd.DataFrame({run_id: errors.scores(one) for run_id, one in group.runs.items()}).T
    table = scores.join(comparison.tables.runs.set_index("run_id")[["unit", "overlap"]])
    examples = table.groupby("unit").examples.max()  # of folds each has others
    return CalibrationScore(
        group.variant,
        group.condition,
        int(examples.sum() if comparison.unit == "fold" else examples.max()),
        unit_metric(table.assign(value=table.calibration_error), "proportion"),
        unit_metric(table.assign(value=table.brier), "positive"),
    )


def _calibration_table(section: ErrorSection) -> pd.DataFrame:
    rows = [
        {"variant": one.variant, "condition": one.condition, "examples": one.examples}
        | {f"calibration_error/{name}": value for name, value in vars(one.calibration_error).items()}
        | {f"brier/{name}": value for name, value in vars(one.brier).items()}
        for one in section.scores
    ]
    return pd.DataFrame(rows)


def _confusion(group: errors.Group) -> pd.DataFrame:
    return errors.confusion_cells(errors.confusion(group.pooled)).assign(**group.key).drop(columns="share")


def _concat(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables, with the columns variant and condition first."""
    if not parts:
        return pd.DataFrame(columns=["variant", "condition"])
    table = pd.concat(parts, ignore_index=True)
    return table[["variant", "condition", *(c for c in table if c not in ("variant", "condition"))]]
