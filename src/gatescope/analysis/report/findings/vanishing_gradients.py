"""Findings on how far gradients reach back in time, before and after training."""

from __future__ import annotations

import math

from gatescope.analysis.comparison import Comparison
from gatescope.analysis.figures.base import NoData
from gatescope.analysis.gradient_flow import END, START, GradientFlow, RateChange, SignalReach
from gatescope.analysis.report.findings import Findings
from gatescope.analysis.report.findings import comparison as variants
from gatescope.analysis.report.numbers import interval, join_words, number
from gatescope.analysis.report.tables import markdown
from gatescope.analysis.statistics import MIN_SEEDS, Estimate

TITLE = "Which architectures carry a signal how far"

ByVariant = dict[str, dict[str, SignalReach]]
"""Estimates by variant and time."""


def findings(comparison: Comparison) -> Findings:
    """Write the findings on gradient flow, then those on the comparison of variants."""
    general = variants.paragraphs(comparison)
    try:
        flow = comparison.gradient_flow
    except NoData as why:
        missing = f"Nothing can be said: {why}."
        return Findings(TITLE, variants.headline(comparison), [missing, *general])
    paragraphs = [_method(flow.seeds)]
    headline = variants.headline(comparison)
    for condition, reach in flow.reach.items():
        if reach:
            sentences = _sentences(flow, condition)
            paragraphs += [_table(reach, condition), " ".join(sentences)]
            place = f" ({condition})" if condition else ""
            headline = sentences[0].replace("**", "").replace(" (λ", f"{place} (λ", 1)
    return Findings(TITLE, headline, [*paragraphs, *general])


def _method(seeds: int) -> str:
    few = "" if seeds >= MIN_SEEDS else f" With {seeds} there are **not enough seeds** for any verdict."
    return (
        "Before training, and at the weights that are tested (the best on validation). "
        "Measured without the loss: a random unit vector on the last state of the top layer, carried back by "
        "the exact Jacobians. Decay rate λ in nats a step; half-life ln 2 / −λ with the interval of λ "
        "carried over; reach, the largest lag at which more than 1 % of the norm is left, is bounded by the "
        f"length of the sequences (≥ where a seed reaches that bound). Mean over seeds and 95 % t "
        "interval. A seed in which the vector becomes exactly 0 for half of the sequences or more (dead), or "
        f"overflows (exploded), has no rate and is in no mean: n says how many there are.{few}"
    )


def _table(reach: ByVariant, condition: str) -> str:
    head = [
        "variant",
        *(f"{what}, {time}" for what in ("λ", "half-life", "reach") for time in (START, END)),
        "n",
    ]
    lines = []
    for variant, own in reach.items():
        cells = [variant]
        cells += [interval(own[time].rate, sign=True) for time in (START, END)]
        cells += [_half_life(own[time].half_life) for time in (START, END)]
        cells += [_reach(own[time]) for time in (START, END)]
        cells.append(_seed_count(own))
        lines.append(cells)
    place = f"**{condition}**\n\n" if condition else ""
    return place + markdown(head, lines)


def _seed_count(own: dict[str, SignalReach]) -> str:
    """Return the seeds in the means: "5" or, where some have no rate, "4 (tested weights: 1 of 5 dead)"."""
    n = str(min(own[time].rate.n for time in (START, END)))
    lost = [f"{time}: {own[time].lost}" for time in (START, END) if own[time].lost]
    return f"{n} ({'; '.join(lost)})" if lost else n


def _half_life(life: Estimate) -> str:
    if math.isnan(life.mean) or life.mean < math.inf:
        return interval(life)
    return "does not vanish" + (f" [≥ {number(life.low)}]" if life.low < math.inf else "")


def _reach(one: SignalReach) -> str:
    return ("≥ " if one.censored else "") + interval(one.reach)


def _sentences(flow: GradientFlow, condition: str) -> list[str]:
    """Compare the variants after training, their reach with the task's lag, and the effect of training."""
    reach = flow.reach[condition]
    sentences = _ranking({variant: own[END] for variant, own in reach.items()})
    if any(not one.rate.has_enough_seeds for own in reach.values() for one in own.values() if not one.lost):
        few = f"Not enough seeds for a verdict (fewer than {MIN_SEEDS} for some variant)."
        return [*sentences, few]
    complete = {variant: own for variant, own in reach.items() if not any(one.lost for one in own.values())}
    if condition in flow.lags:
        sentences += _reach_and_lag(complete, flow.lags[condition])
    return sentences + _changes(flow.changes[condition])


def _ranking(after: dict[str, SignalReach]) -> list[str]:
    """Return which variant's gradient decays least and which most.

    Variants with a lost seed, and those whose gradient grows, are not ranked.
    """
    unranked = {
        variant: one.lost or f"grows, λ = {interval(one.rate, sign=True)}"
        for variant, one in after.items()
        if one.lost or one.grows
    }
    ranked = sorted((v for v in after if v not in unranked), key=lambda v: abs(after[v].rate.mean))
    others = f"Without a place: {join_words(f'{variant} ({why})' for variant, why in unranked.items())}."
    if not ranked:
        return ["After training no variant carries a signal in all its seeds without growth.", others]
    first, last = ranked[0], ranked[-1]
    rate = after[first].rate
    text = (
        f"After training **{first}** loses least of a signal a step "
        f"(λ = {interval(rate, sign=True)}, n = {rate.n})"
    )
    text += f", {last} most ({interval(after[last].rate, sign=True)})." if last != first else "."
    return [text, others] if unranked else [text]


def _reach_and_lag(reach: ByVariant, lag: float) -> list[str]:
    """Compare the reach of every variant with the task's lag.

    One bound of the interval decides on each side. Values without spread have no interval and no verdict.
    """
    after = {variant: own[END] for variant, own in reach.items()}
    constant = [v for v, one in after.items() if math.isnan(one.reach.low)]
    beyond = [v for v, one in after.items() if one.reach.low >= lag]
    short = [v for v, one in after.items() if one.reach.high < lag]
    undecided = [v for v in after if v not in (*beyond, *short, *constant)]
    phrases = {
        "reach over the task's lag": beyond,
        "do not": short,
        "cannot be placed by these seeds": undecided,
    }
    parts = [f"{join_words(names)} {phrase}" for phrase, names in phrases.items() if names]
    if constant:
        reaches = (f"{v} ({_reach(after[v])} in all {after[v].reach.n})" for v in constant)
        parts.append(f"{join_words(reaches)} without a spread over seeds that a verdict could rest on")
    return [f"Of {lag:g} steps: {'; '.join(parts)}."] if parts else []


def _changes(changes: tuple[RateChange, ...]) -> list[str]:
    """Return how training changed the decay rates."""
    untested = [one for one in changes if not one.tested]
    groups = {
        "Training made a signal last longer in": [
            one for one in changes if one.significant and one.difference.estimate.mean > 0
        ],
        "Training made a signal fade sooner in": [
            one for one in changes if one.significant and not one.difference.estimate.mean > 0
        ],
        "No change beyond seeds in": [one for one in changes if one.tested and not one.significant],
        "The same change in all seeds, and so no verdict, in": untested,
    }
    return [
        f"{phrase} "
        f"{join_words(f'{c.variant} ({interval(c.difference.estimate, sign=True)})' for c in group)}."
        for phrase, group in groups.items()
        if group
    ]
