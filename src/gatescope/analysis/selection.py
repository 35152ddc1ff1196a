"""`study.select`: for each variant and condition the value of a swept key that is best on validation.

A key that is chosen is no condition of a comparison any more: each variant is compared at its own best
value, which is found without the test split. The whole grid stays in the report.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from gatescope.analysis import study, style
from gatescope.analysis.runs import NoRuns, Tables
from gatescope.analysis.statistics import Estimate, mean_interval


@dataclass(frozen=True)
class Candidate:
    """One value of the keys that are chosen, of one variant under one condition.

    Attributes:
        value: "lr=0.01", or several such.
        validation: mean over the seeds whose run finished with a finite value, and its interval.
        test: the same of the study's primary metric. It plays no part in the choice.
        seeds: how many seeds the variant has under this condition, with whatever value.
        chosen: whether it is compared with other variants.
    """

    variant: str
    condition: str
    value: str
    validation: Estimate
    test: Estimate
    seeds: int
    chosen: bool


@dataclass(frozen=True)
class Selection:
    """What was chosen: `tables` hold its finished runs only, under the conditions that remain.

    Attributes:
        by: the metric on validation, `validation/<metric>`; `higher`: whether high is good.
        grid: all candidates, in the order of tables.
        chosen: the value by (variant, condition).
        notes: ties, missing seeds, and where nothing could be chosen.
    """

    over: tuple[str, ...]
    by: str
    higher: bool
    tables: Tables
    grid: tuple[Candidate, ...]
    chosen: dict[tuple[str, str], str]
    notes: tuple[str, ...]

    def against(self, variant: str, other: str, condition: str) -> str:
        """ "lr=0.01 against lr=0.001": what two compared variants were given."""
        own, others = (self.chosen.get((name, condition), "") for name in (variant, other))
        return own if own == others else f"{own or 'as it is'} against {others or 'as it is'}"


def select(tables: Tables) -> Selection | None:
    """Chooses as the study declares; None where it declares nothing.

    The mean over seeds decides, among the values with the most seeds that have a finite result: one whose
    runs diverge for some seeds is not chosen for the rest. Of equal means the first in order is chosen. Runs
    without any of the keys (a baseline) stay as they are.

    Raises:
        NoRuns: a key does not differ among the runs, or no run has the metric.
    """
    declared = tables.study.get("select")
    if not declared:
        return None
    over, by = _declared(tables, declared)
    values = tables.final(f"best/{by}").value.where(tables.runs.status == "finished")
    if not values.map(math.isfinite).any():
        known = sorted(
            str(c).removeprefix("best/") for c in tables.runs if str(c).startswith("best/validation/")
        )
        raise NoRuns(
            f"study.select.by: given {by}, which no finished run has at its best; "
            f"there is {', '.join(known) or 'none: no run has finished'}"
        )
    higher = _higher_is_better(tables, by)
    split = [_split(tables.axes.get(run, {}), over) for run in tables.runs.run_id]
    table = tables.runs[["run_id", "variant", "seed", "status"]].assign(
        condition=[rest for _, rest in split],
        value=[own for own, _ in split],
        validation=values,
        test=tables.final(study.primary(tables)).value.where(tables.runs.status == "finished"),
    )
    grid: list[Candidate] = []
    notes: list[str] = []
    for condition in study.conditions(table):
        for variant in style.order(table.variant[table.condition == condition]):
            own = table[(table.condition == condition) & (table.variant == variant)]
            if own.value.any():
                grid += _choose(own, higher, notes)
    chosen = {(one.variant, one.condition): one.value for one in grid if one.chosen}
    pairs = zip(table.variant, table.condition, strict=True)
    kept = (table.value == [chosen.get(pair, "") for pair in pairs]) & (table.status == "finished")
    return Selection(
        over, by, higher, _restricted(tables, table, kept, over), tuple(grid), chosen, tuple(notes)
    )


def _declared(tables: Tables, declared: Any) -> tuple[tuple[str, ...], str]:
    over, by = (declared.get(key) if isinstance(declared, dict) else None for key in ("over", "by"))
    if not isinstance(over, list) or not over or not isinstance(by, str):
        raise NoRuns("study.select: needs over, a list of keys, and by, a metric on validation")
    axes = sorted({key for own in tables.axes.values() for key in own})
    for key in over:
        if key not in axes:
            raise NoRuns(
                f"study.select.over: given {key}, which does not differ among the runs of "
                f"{tables.study['name']}; there differ {', '.join(axes) or 'only seeds and variants'}"
            )
    return tuple(over), by


def _higher_is_better(tables: Tables, by: str) -> bool:
    """As the task of the runs has it, whose metric this is; else by the study's direction, or the name."""
    for task in tables.tasks.values():
        if by == f"validation/{task.get('metric')}":
            return str(task.get("direction", "max")).startswith("max")
    return study.higher_is_better(tables, by)


def _split(axes: dict[str, str], over: tuple[str, ...]) -> tuple[str, str]:
    """The part of a condition that is chosen, and the part that remains."""
    own = [axes[key] for key in over if key in axes]
    return ", ".join(own), ", ".join(text for key, text in axes.items() if key not in over)


def _choose(own: pd.DataFrame, higher: bool, notes: list[str]) -> list[Candidate]:
    """The candidates of one variant and condition, of which at most one is chosen."""
    variant, condition = str(own.variant.iloc[0]), str(own.condition.iloc[0])
    name = ", ".join(filter(None, [variant, condition]))
    order = sorted(own.value.unique(), key=study.natural)
    parts = {value: own[own.value == value] for value in order}
    means = {value: mean_interval(part.validation) for value, part in parts.items()}
    most, seeds = max(one.n for one in means.values()), int(own.seed.nunique())
    best: str | None = None
    if most:
        sign = 1 if higher else -1
        top = max(sign * means[value].mean for value in order if means[value].n == most)
        tied = [
            v for v in order if means[v].n == most and math.isclose(sign * means[v].mean, top, rel_tol=1e-12)
        ]
        best = tied[0]
        if len(tied) > 1:
            notes.append(f"{name}: {', '.join(tied)} are equal on validation; {best}, the first, is chosen")
    else:
        notes.append(
            f"{name}: no value has a finite result on validation, so that none is chosen or compared"
        )
    notes += [
        f"{name}, {value}: {means[value].n} of {seeds} seeds have a finite result on validation"
        + (", too few to be chosen" if means[value].n < most else "")
        for value in order
        if most and means[value].n < seeds
    ]
    return [
        Candidate(variant, condition, v, means[v], mean_interval(part.test), seeds, v == best)
        for v, part in parts.items()
    ]


def _restricted(tables: Tables, table: pd.DataFrame, kept: pd.Series, over: tuple[str, ...]) -> Tables:
    """The tables of the chosen runs, whose conditions no longer name what was chosen."""
    runs = tables.runs.assign(condition=table.condition)[kept]
    ids = set(runs.run_id)
    axes = {
        run: {key: text for key, text in own.items() if key not in over}
        for run, own in tables.axes.items()
        if run in ids
    }
    return replace(tables.restricted_to(runs), axes=axes)
