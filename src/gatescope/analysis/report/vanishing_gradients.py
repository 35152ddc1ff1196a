"""In words: which architectures carry a signal how far, before and after training, with intervals."""

from __future__ import annotations

import math

from gatescope.analysis import study, style
from gatescope.analysis.figures.base import NoData
from gatescope.analysis.gradient_flow import END, START, Carried, carried, decay_rates, ends, measurements
from gatescope.analysis.report import comparison
from gatescope.analysis.report.numbers import interval, listed, number
from gatescope.analysis.report.tables import markdown
from gatescope.analysis.runs import Tables
from gatescope.analysis.statistics import ENOUGH_SEEDS, LEVEL, Estimate, holm, paired_difference

TITLE = "Which architectures carry a signal how far"

ByVariant = dict[str, dict[str, Carried]]
"""Estimates by variant and time."""


def paragraphs(tables: Tables) -> list[str]:
    try:
        rates = decay_rates(tables)
    except NoData as why:
        return [f"Nothing can be said: {why}.", *comparison.paragraphs(tables)]
    found: list[str] = [_method(rates.seed.nunique())]
    for condition in study.conditions(rates):
        measured = _measured(tables, condition)
        if measured:
            found += [_table(measured, condition), " ".join(_sentences(tables, measured, condition))]
    return [*found, *comparison.paragraphs(tables)]


def headline(tables: Tables) -> str:
    """One line, plain text: who loses least and who most of a signal under the last condition."""
    try:
        places = study.conditions(decay_rates(tables))
    except NoData:
        return comparison.headline(tables)
    for condition in reversed(places):
        if measured := _measured(tables, condition):
            place = f" ({condition})" if condition else ""
            return (
                _sentences(tables, measured, condition)[0].replace("**", "").replace(" (λ", f"{place} (λ", 1)
            )
    return comparison.headline(tables)


def _method(seeds: int) -> str:
    few = "" if seeds >= ENOUGH_SEEDS else f" With {seeds} there are **not enough seeds** for any verdict."
    return (
        "Before training, and at the weights that are tested (the best on validation). "
        "Measured without the loss: a random unit vector on the last state of the top layer, carried back by "
        "the exact Jacobians. Decay rate λ in nats a step; half-life ln 2 / −λ with the interval of λ "
        "carried over; reach, the largest lag at which more than 1 % of the norm is left, is bounded by the "
        f"length of the sequences (≥ where a seed reaches that bound). Mean over seeds and 95 % t "
        "interval. A seed in which the vector becomes exactly 0 for half of the sequences or more (dead), or "
        f"overflows (exploded), has no rate and is in no mean: n says how many there are.{few}"
    )


def _measured(tables: Tables, condition: str) -> ByVariant:
    """Estimates of each variant that was looked at both times, dead or alive."""
    parts = {"decay_rate": ends(decay_rates(tables))} | {
        name: ends(measurements(tables, f"loss_free_{name}")) for name in ("reach", "reach_censored")
    }
    result: ByVariant = {}
    for variant in style.order(study.contenders(tables).runs.variant):
        at: dict[str, Carried] = {}
        for time in (START, END):
            own = [
                table[time][(table[time].variant == variant) & (table[time].condition == condition)]
                for table in parts.values()
            ]
            if len(own[0]):
                at[time] = carried(*own)
        if len(at) == 2:
            result[variant] = at
    return result


def _table(measured: ByVariant, condition: str) -> str:
    head = [
        "variant",
        *(f"{what}, {time}" for what in ("λ", "half-life", "reach") for time in (START, END)),
        "n",
    ]
    lines = []
    for variant, at in measured.items():
        cells = [variant]
        cells += [interval(at[time].rate, sign=True) for time in (START, END)]
        cells += [_half_life(at[time].half_life) for time in (START, END)]
        cells += [_reach(at[time]) for time in (START, END)]
        cells.append(_count(at))
        lines.append(cells)
    place = f"**{condition}**\n\n" if condition else ""
    return place + markdown(head, lines)


def _count(at: dict[str, Carried]) -> str:
    """Seeds in the means, "5" or, where some have no rate, "4 (tested weights: 1 of 5 dead)"."""
    n = str(min(at[time].rate.n for time in (START, END)))
    missing = [f"{time}: {at[time].lost}" for time in (START, END) if at[time].lost]
    return f"{n} ({'; '.join(missing)})" if missing else n


def _half_life(life: Estimate) -> str:
    if math.isnan(life.mean) or life.mean < math.inf:
        return interval(life)
    return "does not vanish" + (f" [≥ {number(life.low)}]" if life.low < math.inf else "")


def _reach(one: Carried) -> str:
    return ("≥ " if one.censored else "") + interval(one.reach)


def _sentences(tables: Tables, measured: ByVariant, condition: str) -> list[str]:
    """Who carries a signal farthest after training, who over the task's lag, and what training changed."""
    text = [*_ranking({variant: at[END] for variant, at in measured.items()})]
    if any(not one.rate.enough for at in measured.values() for one in at.values() if not one.lost):
        text.append(f"Not enough seeds for a verdict (fewer than {ENOUGH_SEEDS} for some variant).")
        return text
    measured = {v: at for v, at in measured.items() if not any(one.lost for one in at.values())}
    text += _over_the_lag(tables, measured, condition)
    return text + _changes(tables, list(measured), condition)


def _ranking(found: dict[str, Carried]) -> list[str]:
    """Who loses least of a signal and who most. A variant with a seed that is dead or exploded has no place
    among them, and none that makes a signal grow: it does not carry it either."""
    told = {
        variant: one.lost or f"grows, λ = {interval(one.rate, sign=True)}"
        for variant, one in found.items()
        if one.lost or one.grows
    }
    ranked = sorted((v for v in found if v not in told), key=lambda v: abs(found[v].rate.mean))
    others = f"Without a place: {listed(f'{variant} ({why})' for variant, why in told.items())}."
    if not ranked:
        return ["After training no variant carries a signal in all its seeds without growth.", others]
    first, last = ranked[0], ranked[-1]
    rate = found[first].rate
    text = (
        f"After training **{first}** loses least of a signal a step "
        f"(λ = {interval(rate, sign=True)}, n = {rate.n})"
    )
    text += f", {last} most ({interval(found[last].rate, sign=True)})." if last != first else "."
    return [text, others] if told else [text]


def _over_the_lag(tables: Tables, measured: ByVariant, condition: str) -> list[str]:
    lags = tables.runs.lag[tables.runs.condition == condition].dropna().unique()
    if len(lags) != 1:
        return []
    lag = float(lags[0])
    # One bound of a t interval decides each side. Without spread there is no interval, and no verdict.
    alike = [v for v, at in measured.items() if math.isnan(at[END].reach.low)]
    beyond = [v for v, at in measured.items() if at[END].reach.low >= lag]
    short = [v for v, at in measured.items() if at[END].reach.high < lag]
    open_ = [v for v in measured if v not in (*beyond, *short, *alike)]
    phrases = {"reach over the task's lag": beyond, "do not": short, "cannot be placed by these seeds": open_}
    said = [f"{listed(names)} {phrase}" for phrase, names in phrases.items() if names]
    if alike:
        reaches = (f"{v} ({_reach(measured[v][END])} in all {measured[v][END].reach.n})" for v in alike)
        said.append(f"{listed(reaches)} without a spread over seeds that a verdict could rest on")
    return [f"Of {lag:g} steps: {'; '.join(said)}."] if said else []


def _changes(tables: Tables, variants: list[str], condition: str) -> list[str]:
    """Rate after training minus rate before it, paired by seed, Holm over the variants."""
    at = ends(decay_rates(tables))
    differences = []
    for variant in variants:
        start, end = (
            at[time][(at[time].variant == variant) & (at[time].condition == condition)]
            .set_index("seed")
            .value
            for time in (START, END)
        )
        differences.append(paired_difference(end.rename(variant), start.rename(START)))
    adjusted = holm([difference.p for difference in differences])
    farther: list[str] = []
    shorter: list[str] = []
    same: list[str] = []
    alike: list[str] = []
    for difference, p in zip(differences, adjusted, strict=True):
        untested = math.isnan(difference.p)
        group = alike if untested else same if not p < 1 - LEVEL else None
        group = group if group is not None else farther if difference.estimate.mean > 0 else shorter
        group.append(f"{difference.a} ({interval(difference.estimate, sign=True)})")
    groups = {
        "Training made a signal last longer in": farther,
        "Training made a signal fade sooner in": shorter,
        "No change beyond seeds in": same,
        "The same change in all seeds, and so no verdict, in": alike,
    }
    return [f"{phrase} {listed(names)}." for phrase, names in groups.items() if names]
