"""Findings on which variant is best, by how much, and how the variants compare with the baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable

from gatescope.analysis import study as declared
from gatescope.analysis import words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.contrasts import Contrast
from gatescope.analysis.outcomes import HalfLag, Outcomes
from gatescope.analysis.report.findings import Findings
from gatescope.analysis.report.findings.headline import sentences, title
from gatescope.analysis.report.findings.headline_conditions import extreme
from gatescope.analysis.report.numbers import NOTHING, interval, join_words, number, p_value
from gatescope.analysis.report.tables import markdown
from gatescope.analysis.statistics import (
    AHEAD,
    BEHIND,
    EQUIVALENT,
    LEVEL_TEXT,
    MIN_SEEDS,
    NO_SPREAD,
    TOO_FEW_SEEDS,
    UNDECIDED,
)

FIGURE = "metric_by_variant"
"""The figure that shows the finding of a comparison."""


def findings(comparison: Comparison) -> Findings:
    """Write the findings of a comparison of variants."""
    return Findings(title(comparison), sentences(comparison), paragraphs(comparison), FIGURE)


def paragraphs(comparison: Comparison) -> list[str]:
    """Return a paragraph per condition, then one per condition on its baseline."""
    if not comparison.conditions:
        return [_no_value(comparison, "")]
    best = [_best(comparison, condition) for condition in comparison.conditions]
    baselines = [_baseline(comparison, condition) for condition in comparison.conditions]
    return [*best, *filter(None, baselines), *_asked(comparison), *_outcomes(comparison)]


def _asked(comparison: Comparison) -> list[str]:
    """Return a table of the pairs of variants that the study asks for (`study.contrasts`)."""
    if not comparison.asked_contrasts:
        return []
    condition = ["condition"] if comparison.has_conditions else []
    head = ["variant", "minus", *condition, "difference", "p", "verdict"]
    rows = []
    for one in comparison.asked_contrasts:
        place = [words.condition(one.condition)] if condition else []
        result = [_difference(one), p_value(one.adjusted_p), one.judgement]
        names = [words.variant(one.variant), words.variant(one.reference)]
        rows.append([*names, *place, *result])
    return [
        f"Pairs that the study asks for, on {words.metric(comparison.primary)}; the intervals are "
        f"simultaneous for them:\n\n{markdown(head, rows)}"
    ]


def _outcomes(comparison: Comparison) -> list[str]:
    """Return a table of the seeds that solve the task, and the lag at which half of them would."""
    if (found := comparison.outcomes) is None:
        return []
    conditions = [c for c in comparison.conditions if any(key[1] == c for key in found.shares)]
    head = ["variant", *(words.condition(c) or "seeds" for c in conditions)]
    rows = [[variant, *(_share(found, variant, c) for c in conditions)] for variant in comparison.variants]
    if found.half_lags:
        head.append("half of the seeds (lag)")
        rows = [[*row, _half_lag(found.half_lags.get(row[0]))] for row in rows]
    rows = [[words.variant(row[0]), *row[1:]] for row in rows]
    bound = "at least" if declared.higher_is_better(comparison.tables, found.metric) else "at most"
    return [
        f"A run has solved the task where its {words.metric(found.metric)} is {bound} {number(found.at)}. "
        f"Solved seeds, with the {LEVEL_TEXT} interval of the probability that a seed does "
        "(Clopper–Pearson), and the median number of steps to that value on validation"
        + (
            ". Last column: the lag at which half of the seeds would solve the task, from a logistic fit on "
            "the logarithm of the lag, with its profile interval"
            if found.half_lags
            else ""
        )
        + f":\n\n{markdown(head, rows)}"
    ]


def _share(found: Outcomes, variant: str, condition: str) -> str:
    share = found.shares.get((variant, condition))
    if share is None:
        return NOTHING
    steps = found.steps[variant, condition]
    return f"{share}" + (f", {steps:,.0f} steps" if math.isfinite(steps) else "")


def _half_lag(found: HalfLag | None) -> str:
    """Return "57 [41, 80]", or a bound where the lags of the study do not bound it on one side."""
    if found is None:
        return NOTHING
    if found.lag == 0:
        return f"< {found.high:.3g}"
    if math.isinf(found.lag):
        return f"> {found.low:.3g}"
    high = f"{found.high:.3g}" if math.isfinite(found.high) else "∞"
    return f"{found.lag:.3g} [{found.low:.3g}, {high}]"


def _best(comparison: Comparison, condition: str) -> str:
    if condition not in comparison.leaders:
        return _no_value(comparison, condition)
    leader = comparison.leaders[condition]
    n = comparison.summary(leader.variant, condition).n
    text = f"{_best_mean(comparison, condition)} (n = {n})."
    return " ".join([text, *_contrast_sentences(leader.contrasts, comparison.unit)])


def _best_mean(comparison: Comparison, condition: str) -> str:
    """Return "GRU has the highest mean test accuracy with lag 5 steps: 0.712 [0.700, 0.724]"."""
    variant = comparison.leaders[condition].variant
    mean = interval(comparison.summary(variant, condition).metrics[comparison.primary])
    name, metric = words.prose(variant), words.metric(comparison.primary)
    return f"**{name}** has the {extreme(comparison)} mean {metric}{under(condition)}: {mean}"


def _names(baseline: object) -> str:
    """Return the name of the baseline that a study declares, or the names of several."""
    names = [baseline] if isinstance(baseline, str) else baseline if isinstance(baseline, list) else []
    return join_words(words.prose(str(name)) for name in names)


def _no_value(comparison: Comparison, condition: str) -> str:
    return f"No run has a finite {words.metric(comparison.primary)}{under(condition)}."


def under(condition: str) -> str:
    """Return " with lag 5 steps", or "" without a condition."""
    return f" {words.at(condition)}" if condition else ""


def _contrast_sentences(contrasts: Iterable[Contrast], unit: str) -> list[str]:
    by_verdict: dict[str, list[Contrast]] = {}
    for one in contrasts:
        by_verdict.setdefault(one.verdict, []).append(one)
    sentences = []
    if ahead := by_verdict.get(AHEAD):
        sentences.append(f"It is ahead of {_references(ahead)}.")
    if equal := by_verdict.get(EQUIVALENT):
        sentences.append(f"It is equivalent to {_references(equal)} within the study's margin.")
    if undecided := by_verdict.get(UNDECIDED):
        sentences.append(f"Undecided: {_references(undecided)}.{_seeds(undecided)}")
    if constant := by_verdict.get(NO_SPREAD):
        sentences.append(
            f"No test against {_references(constant)}: the difference is the same in all {unit}s."
        )
    if few := by_verdict.get(TOO_FEW_SEEDS):
        sentences.append(
            f"Not enough {unit}s for a verdict against {_references(few)} (fewer than {MIN_SEEDS} pairs)."
        )
    return sentences


def _seeds(contrasts: Iterable[Contrast]) -> str:
    """Return the sentence on how many seeds would decide the nearest to a decision."""
    needed = [one.seeds_needed for one in contrasts if one.seeds_needed is not None]
    return f" About {min(needed)} seeds would decide the clearest of them." if needed else ""


def _references(contrasts: Iterable[Contrast]) -> str:
    return join_words(f"{words.prose(one.reference)} ({_difference(one)})" for one in contrasts)


def _difference(contrast: Contrast) -> str:
    return interval(contrast.difference.estimate, sign=True)


def _baseline(comparison: Comparison, condition: str) -> str:
    baseline = comparison.baselines.get(condition)
    if baseline is None:
        named = comparison.study.get("baseline")
        place = under(condition)
        missing = f"The baseline, {_names(named)}, has no finished run{place}: nothing is compared with it."
        return missing if named else ""
    source = f" ({baseline.source})" if baseline.source else ""
    name = words.prose(baseline.name)
    text = f"The baseline, {name}{source}, reaches {number(baseline.value)}{under(condition)}."
    better, worse = ("above", "below") if comparison.higher_is_better else ("below", "above")
    phrases = {
        AHEAD: f"{better.capitalize()} it",
        EQUIVALENT: "Equivalent to it within the study's margin",
        UNDECIDED: "Undecided",
        BEHIND: f"{worse.capitalize()} it",
        NO_SPREAD: f"No test, as the difference is the same in all {comparison.unit}s",
        TOO_FEW_SEEDS: f"Not enough {comparison.unit}s for a verdict",
    }
    contrasts = comparison.baseline_contrasts[condition]
    for verdict, phrase in phrases.items():
        group = [
            f"{words.prose(one.variant)} ({_difference(one)})" for one in contrasts if one.verdict == verdict
        ]
        if group:
            text += f" {phrase}: {join_words(group)}."
    return text
