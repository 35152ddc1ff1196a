"""`study.select`: choose for each variant and condition the value of a swept key that is best on validation.

A selected key is no longer a condition of the comparison: each variant is compared at its own best value,
which is chosen without the test split. The report still shows the whole grid. See docs/studies.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from gatescope.analysis import study, style
from gatescope.analysis.intervals import scale_of
from gatescope.analysis.runs import NoRuns, Tables
from gatescope.analysis.statistics import Estimate
from gatescope.analysis.units import unit_metric, unit_name
from gatescope.tracking import variants
from gatescope.tracking.outcomes import monitored


@dataclass(frozen=True)
class Candidate:
    """One value of the selected keys, of one variant under one condition.

    Attributes:
        variant: the variant.
        condition: the condition, without the selected keys.
        value: such as "lr=0.01", or several of these.
        validation: mean over the seeds whose run finished with a finite value.
        test: mean of the study's primary metric over the same runs. It does not influence the choice.
        seeds: number of seeds that the variant has under this condition, with any value.
        chosen: whether this value is compared with other variants.
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
    """The values that were chosen.

    Attributes:
        over: the selected keys.
        by: the metric on the validation split, `validation/<metric>`.
        higher: whether higher is better.
        tables: the finished runs with the chosen values, under the remaining conditions.
        grid: all candidates, in table order.
        chosen: the value by (variant, condition).
        notes: ties, missing seeds, and variants for which nothing could be chosen.
    """

    over: tuple[str, ...]
    by: str
    higher: bool
    tables: Tables
    grid: tuple[Candidate, ...]
    chosen: dict[tuple[str, str], str]
    notes: tuple[str, ...]

    def against(self, variant: str, other: str, condition: str) -> str:
        """Format the values of two compared variants, such as "lr=0.01 against lr=0.001"."""
        own, others = (self.chosen.get((name, condition), "") for name in (variant, other))
        return own if own == others else f"{own or 'no selection'} against {others or 'no selection'}"


class SelectionError(NoRuns):
    """`study.select` does not fit the runs of the study."""


def select(tables: Tables) -> Selection | None:
    """Select as `study.select` declares; return None where it declares nothing.

    The value with the best mean over seeds is chosen, among the values with the most seeds that have a finite
    result: a value with which some seeds diverge is not chosen for its other seeds. Of equal means the first
    in order is chosen. Runs without any of the keys (a baseline) are kept.

    Raises:
        SelectionError: a key does not differ among the runs, or no run has the metric.
    """
    if len(tables.trials):
        return _tuned(tables)
    declared = tables.study.get("select")
    if not declared:
        return None
    over, by = _checked(tables, declared)
    if study.primary(tables).startswith("validation/"):
        raise SelectionError(
            f"study.primary: {study.primary(tables)} is on the split that study.select chooses by, which "
            "favours the chosen values: name a metric on test/"
        )
    values = tables.final(f"best/{by}").value.where(tables.runs.status == "finished")
    if not values.map(math.isfinite).any():
        known = sorted(
            str(c).removeprefix("best/") for c in tables.runs if str(c).startswith("best/validation/")
        )
        raise SelectionError(
            f"study.select.by: no finished run has a best value of {by}; "
            f"available: {', '.join(known) or 'none, as no run has finished'}"
        )
    higher = study.higher_is_better(tables, by)
    split = [_split(tables.axes.get(run, {}), over) for run in tables.runs.run_id]
    table = tables.runs[["run_id", "variant", "unit", "overlap", "status"]].assign(
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
                grid += _choose(own, higher, (by, study.primary(tables)), notes)
    chosen = {(one.variant, one.condition): one.value for one in grid if one.chosen}
    pairs = zip(table.variant, table.condition, strict=True)
    is_chosen = (table.value == [chosen.get(pair, "") for pair in pairs]) & (table.status == "finished")
    return Selection(
        over, by, higher, _restricted(tables, table, is_chosen, over), tuple(grid), chosen, tuple(notes)
    )


def _tuned(tables: Tables) -> Selection:
    """Return the selection of a tuned study: its trials, and the settings of its final runs."""
    trials = tables.trials
    finished = tables.runs[tables.runs.status == "finished"]
    settings = finished[finished.setting != ""].drop_duplicates(["variant", "condition"])
    chosen = {(str(r.variant), str(r.condition)): str(r.setting) for r in settings.itertuples()}
    grid: list[Candidate] = []
    for condition in study.conditions(trials):
        for variant in style.order(trials.variant[trials.condition == condition]):
            own = trials[(trials.condition == condition) & (trials.variant == variant)]
            for setting, part in own.sort_values("number").groupby("setting", sort=False):
                is_chosen = chosen.get((variant, condition)) == setting
                grid.append(_trial(tables, part, is_chosen))
    config = tables.configs[str(settings.run_id.iloc[0])] if len(settings) else {}
    tune = config.get("tune", {})
    minutes = float(pd.to_numeric(trials.seconds).sum()) / 60
    note = (
        f"settings were tuned by {tune.get('sampler', 'a')} search, {int(trials.number.max()) + 1} trials a "
        f"variant: {len(trials)} runs, {minutes:.0f} minutes of computing"
    )
    if halving := tune.get("halving"):
        note = (
            f"settings were tuned by random search with successive halving (one in {halving} goes on), "
            f"{tune['trials']} trials a variant: {len(trials)} runs were trained in full, "
            f"{minutes:.0f} minutes of computing without the short trainings"
        )
    over = tuple(variants.tuned_keys(config))
    by = validated_metric(tables)
    return Selection(
        over, by, study.higher_is_better(tables, by), tables.finished(), tuple(grid), chosen, (note,)
    )


def _trial(tables: Tables, part: pd.DataFrame, is_chosen: bool) -> Candidate:
    """Return one setting of a tuned variant; `part` has its trials, one for each seed of the search."""
    condition, done = str(part.condition.iloc[0]), part.status == "finished"
    primary, by = study.own_metric(tables, condition)[0], validated_metric(tables, condition)
    validation, test = (
        unit_metric(part.assign(value=_column(part, column).where(done)), scale_of(metric))
        for column, metric in ((f"best/{by}", by), (primary, primary))
    )
    return Candidate(
        str(part.variant.iloc[0]), condition, str(part.setting.iloc[0]), validation, test,
        int(part.unit.nunique()), is_chosen,
    )  # fmt: skip


def _column(part: pd.DataFrame, name: str) -> pd.Series:
    """Return a column of numbers; NaN where no trial has it."""
    numbers: pd.Series = part.reindex(columns=[name])[name].astype(float)
    return numbers


def validated_metric(tables: Tables, condition: str | None = None) -> str:
    """Return the metric on validation by which weights and settings were chosen.

    Args:
        tables: the study.
        condition: the condition, whose runs may have data with a metric of their own; default: any.
    """
    runs = tables.runs if condition is None else tables.runs[tables.runs.condition == condition]
    task = next((own for run in runs.run_id if (own := tables.tasks.get(run))), tables.task)
    return f"validation/{monitored(task)[0] or 'loss'}"


def _checked(tables: Tables, declared: Any) -> tuple[tuple[str, ...], str]:
    """Return the keys and the metric of `study.select`, or raise SelectionError if they cannot be used."""
    over, by = (declared.get(key) if isinstance(declared, dict) else None for key in ("over", "by"))
    if not isinstance(over, list) or not over or not isinstance(by, str):
        raise SelectionError(
            "study.select: set over, a list of keys, and by, a metric on the validation split"
        )
    axes = sorted({key for own in tables.axes.values() for key in own})
    for key in over:
        if key not in axes:
            raise SelectionError(
                f"study.select.over: {key} does not differ among the runs of {tables.study['name']}; "
                f"keys that differ: {', '.join(axes) or 'none besides seed and variant'}"
            )
    return tuple(over), by


def _split(axes: dict[str, str], over: tuple[str, ...]) -> tuple[str, str]:
    """Split a condition into the part that is selected and the part that remains."""
    own = [axes[key] for key in over if key in axes]
    return ", ".join(own), ", ".join(text for key, text in axes.items() if key not in over)


def _choose(own: pd.DataFrame, higher: bool, names: tuple[str, str], notes: list[str]) -> list[Candidate]:
    """Return the candidates of one variant and condition, of which at most one is chosen.

    Args:
        own: the runs of the variant and condition.
        higher: whether higher is better.
        names: names of the validation and of the test metric.
        notes: ties and missing seeds are appended to it.
    """
    by, test = names
    variant, condition = str(own.variant.iloc[0]), str(own.condition.iloc[0])
    name = ", ".join(filter(None, [variant, condition]))
    order = sorted(own.value.unique(), key=study.natural)
    parts = {value: own[own.value == value] for value in order}
    means, tested = (
        {value: unit_metric(part.assign(value=part[column]), scale_of(name)) for value, part in parts.items()}
        for column, name in (("validation", by), ("test", test))
    )
    most, seeds = max(one.n for one in means.values()), int(own.unit.nunique())
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
        f"{name}, {value}: {means[value].n} of {seeds} {unit_name(own)}s have a finite result on validation"
        + (", too few to be chosen" if means[value].n < most else "")
        for value in order
        if most and means[value].n < seeds
    ]
    return [Candidate(variant, condition, v, means[v], tested[v], seeds, v == best) for v in parts]


def _restricted(tables: Tables, table: pd.DataFrame, is_chosen: pd.Series, over: tuple[str, ...]) -> Tables:
    """Return the tables of the chosen runs; their conditions no longer name the selected keys."""
    runs = tables.runs.assign(condition=table.condition)[is_chosen]
    ids = set(runs.run_id)
    axes = {
        run: {key: text for key, text in own.items() if key not in over}
        for run, own in tables.axes.items()
        if run in ids
    }
    return replace(tables.restricted_to(runs), axes=axes)
