"""Findings on how far gradients reach back in time, before and after training."""

from __future__ import annotations

import math
from collections.abc import Iterable

from gatescope.analysis import words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.gradient_flow import END, START
from gatescope.analysis.report.findings import Findings, horizon, lags
from gatescope.analysis.report.findings import comparison as variants
from gatescope.analysis.report.findings.headline import sentences, title
from gatescope.analysis.report.numbers import interval, join_words, number
from gatescope.analysis.report.tables import markdown
from gatescope.analysis.signal_reach import GradientFlow, RateChange, SignalReach
from gatescope.analysis.statistics import MIN_SEEDS, Estimate
from gatescope.analysis.tables import NoData

FIGURES = ("accuracy_against_lag", "vanishing_curves")
"""The figures that show the finding: with several lags, and with one."""

ByVariant = dict[str, dict[str, SignalReach]]
"""Estimates by variant and time."""


def findings(comparison: Comparison) -> Findings:
    """Write the findings on gradient flow, then those on the comparison of variants."""
    general = [*horizon.paragraphs(comparison), *variants.paragraphs(comparison)]
    try:
        flow = comparison.gradient_flow
    except NoData as why:
        missing = f"No findings on gradient flow: {why}."
        return Findings(title(comparison), sentences(comparison), [missing, *general], variants.FIGURE)
    paragraphs = [_method(flow.seeds)]
    known = [condition for condition, reach in flow.reach.items() if reach]
    for condition in known:
        table = _table(flow.reach[condition], condition)
        paragraphs += [table, " ".join(_sentences(flow, condition))]
    if not known:
        return Findings(title(comparison), sentences(comparison), [*paragraphs, *general], variants.FIGURE)
    figure = FIGURES[comparison.contenders.runs.lag.nunique() < 2]
    last = known[-1]
    headline = f"{_headline(flow, last).rstrip()} {sentences(comparison)}"
    own_title = lags.title(comparison) or _title(flow, last)
    return Findings(own_title, headline, [*paragraphs, *general], figure)


def _title(flow: GradientFlow, condition: str) -> str:
    """Return which gradients vanish fastest and slowest, and which explode."""
    after = {variant: own[END] for variant, own in flow.reach[condition].items()}
    ranked = _ranked(after)
    growing = [words.prose(v) for v, one in after.items() if one.grows]
    place = variants.under(condition)
    clauses = []
    if len(ranked) > 1:
        clauses.append(
            f"gradients vanish fastest in {words.prose(ranked[-1])} and most slowly in "
            f"{words.prose(ranked[0])}{place}"
        )
    elif ranked:
        clauses.append(f"the gradient vanishes in {words.prose(ranked[0])}{place}")
    if growing:
        clauses.append(f"{'they explode' if ranked else 'gradients explode'} in {join_words(growing)}")
    if not clauses:
        clauses.append(f"every gradient is dead or has exploded in some seed{place}")
    if flow.seeds < MIN_SEEDS:
        clauses.append(f"too few seeds for a verdict ({flow.seeds})")
    return words.capital("; ".join(clauses))


def _headline(flow: GradientFlow, condition: str) -> str:
    """Return the half-lives of the slowest and the fastest decay, and how much the others grow."""
    after = {variant: own[END] for variant, own in flow.reach[condition].items()}
    ranked = _ranked(after)
    shown = dict.fromkeys([*ranked[:1], *ranked[-1:]])
    lives = {v: after[v].half_life for v in shown}
    parts = [
        f"halves in {_half_life(life)} steps in {words.prose(v)}"
        if life.mean < math.inf
        else f"{_half_life(life)} in {words.prose(v)}"
        for v, life in lives.items()
    ]
    text = f"After training{variants.under(condition)}, a gradient {join_words(parts)}. "
    growth = [f"×{_factor(one)} a step in {words.prose(v)}" for v, one in after.items() if one.grows]
    return (text if parts else "") + (f"It grows by {join_words(growth)}." if growth else "")


def _factor(one: SignalReach) -> str:
    """Return the factor by which a gradient grows in a step back in time: "1.32", "1.0026"."""
    excess = math.expm1(one.rate.mean)
    return f"{1 + excess:.{max(2, 1 - math.floor(math.log10(excess)))}f}"


def _ranked(after: dict[str, SignalReach]) -> list[str]:
    """Return the variants whose gradient decays, the slowest first; without those with a lost seed."""
    decaying = [v for v, one in after.items() if not one.lost and not one.grows]
    return sorted(decaying, key=lambda v: abs(after[v].rate.mean))


def _method(seeds: int) -> str:
    few = "" if seeds >= MIN_SEEDS else f" {seeds} seeds are **not enough seeds** for a verdict."
    return (
        "Measured before training and at the tested weights (the best on validation), without the loss: a "
        "random unit vector at the last state of the top layer is propagated backwards by the exact "
        "Jacobians. λ: decay rate in nats per step. Half-life: ln 2 / −λ, with the interval of λ. Reach: the "
        "largest lag at which more than 1 % of the norm remains, bounded by the length of the sequences. "
        "Mean over seeds and 95 % interval; where a seed reaches that bound, the median and the number of "
        "such seeds, as no mean exists. A seed whose vector "
        "becomes exactly 0 in at least half of the sequences (dead) or overflows (exploded) has no rate and "
        f"is in no mean; n is the number of seeds in the means.{few}"
    )


def _table(reach: ByVariant, condition: str) -> str:
    """Return a row per variant; each cell has the value before training and the one after it."""
    head = ["variant", "λ (nats per step)", "half-life (steps)", "reach (steps)", "n"]
    lines = []
    for variant, own in reach.items():
        before, after = own[START], own[END]
        cells = [
            (interval(before.rate, sign=True), interval(after.rate, sign=True)),
            (_half_life(before.half_life), _half_life(after.half_life)),
            (_reach(before), _reach(after)),
        ]
        lines.append([words.variant(variant), *map(" → ".join, cells), _seed_count(own)])
    place = f"**{words.capital(words.condition(condition))}**\n\n" if condition else ""
    return f"{place}Each cell: {START} → {END}.\n\n{markdown(head, lines)}"


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
    """Return mean and interval, or where seeds are at the bound the median and how many are."""
    if not one.censored:
        return interval(one.reach)
    sign = "≥ " if 2 * one.censored >= len(one.reaches) else ""
    return f"median {sign}{number(one.median_reach)} ({one.censored} of {len(one.reaches)} at the end)"


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
    ranked = _ranked(after)
    unranked = {
        words.prose(variant): one.lost or f"explodes, ×{_factor(one)} a step"
        for variant, one in after.items()
        if variant not in ranked
    }
    others = f"Not ranked: {join_words(f'{variant} ({why})' for variant, why in unranked.items())}."
    if not ranked:
        text = "After training, the gradient of every variant explodes, or is dead or exploded in some seed."
        return [text, others]
    first, last = ranked[0], ranked[-1]
    rate = after[first].rate
    text = (
        f"After training, the gradient decays most slowly in **{words.prose(first)}** "
        f"(λ = {interval(rate, sign=True)}, n = {rate.n})"
    )
    text += (
        f" and fastest in {words.prose(last)} ({interval(after[last].rate, sign=True)})."
        if last != first
        else "."
    )
    return [text, others] if unranked else [text]


def _reach_and_lag(reach: ByVariant, lag: float) -> list[str]:
    """Compare the reach of every variant with the task's lag.

    One bound of the interval decides on each side. Values without spread have no interval and no verdict.
    """
    after = {variant: own[END] for variant, own in reach.items()}
    counted = [v for v, one in after.items() if one.censored]
    constant = [v for v, one in after.items() if math.isnan(one.reach.low) and v not in counted]
    beyond = [v for v, one in after.items() if one.reach.low >= lag]
    short = [v for v, one in after.items() if one.reach.high < lag]
    undecided = [v for v in after if v not in (*beyond, *short, *constant, *counted)]
    phrases: dict[str, Iterable[str]] = {
        "the gradient reaches over it in": map(words.prose, beyond),
        "it does not in": map(words.prose, short),
        "the intervals do not decide in": map(words.prose, undecided),
        "as some seeds reach the end of the sequences, their number counts: it reaches over the lag in": [
            f"{words.prose(v)} ({sum(reach >= lag for reach in reaches)} of {len(reaches)})"
            for v in counted
            for reaches in [after[v].reaches]
        ],
        "there is no interval, as all seeds agree, in": [
            f"{words.prose(v)} ({_reach(after[v])} in all {after[v].reach.n})" for v in constant
        ],
    }
    parts = [f"{phrase} {text}" for phrase, names in phrases.items() if (text := join_words(names))]
    return [f"The task's lag is {lag:g} steps: {'; '.join(parts)}."] if parts else []


def _changes(changes: tuple[RateChange, ...]) -> list[str]:
    """Return how training changed the decay rates."""
    untested = [one for one in changes if not one.tested]
    groups = {
        "Training slowed the decay in": [
            one for one in changes if one.significant and one.difference.estimate.mean > 0
        ],
        "Training accelerated the decay in": [
            one for one in changes if one.significant and not one.difference.estimate.mean > 0
        ],
        "The change is undecided in": [one for one in changes if one.tested and not one.significant],
        "No test, as the change is the same in all seeds, in": untested,
    }

    def text(change: RateChange) -> str:
        return f"{words.prose(change.variant)} ({interval(change.difference.estimate, sign=True)})"

    return [f"{phrase} {join_words(map(text, group))}." for phrase, group in groups.items() if group]
