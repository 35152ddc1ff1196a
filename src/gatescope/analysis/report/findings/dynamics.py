"""Findings on dynamics: where an attractor appears, how soon, and whether it needs gates."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gatescope.analysis import dynamics, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.dynamics import Attractor
from gatescope.analysis.outcomes import SolvedShare
from gatescope.analysis.report.findings import Findings
from gatescope.analysis.report.findings import comparison as variants
from gatescope.analysis.report.findings.comparison import under
from gatescope.analysis.report.findings.headline import sentences, title
from gatescope.analysis.report.numbers import NOTHING, interval, join_words, number
from gatescope.analysis.report.tables import markdown
from gatescope.analysis.tables import NoData

FIGURE = "attractor"
"""The figure that shows the finding."""
UNGATED = ("rnn", "rnn_relu", "irnn")
"""Cells without gates."""
LACKS = {
    dynamics.POINTS: f"fewer than {dynamics.LEAST_POINTS} slow points",
    dynamics.DIMENSION: "points in too many dimensions",
    dynamics.EXTENT: "points that do not extend as far as the states",
    dynamics.SLOWNESS: "too few modes that outlast a text",
}
GEOMETRY = {
    "points": "slow points", "fixed_points": "fixed points", "stable_points": "of them stable",
    "share": "share of variance", "extent": "extent", "slow_time_constant": "time constant (steps)",
    "slow_modes": "slow modes",
}  # fmt: skip
TASK = {
    "alignment": "alignment", "alignment_chance": "by chance", "word_correlation": "words, slow modes",
    "later_correlation": "words, half a text later", "linearised_accuracy": "linearised accuracy",
    "accuracy": "accuracy",
}  # fmt: skip


def findings(comparison: Comparison) -> Findings:
    """Write the findings on attractors, then those on the comparison of variants."""
    general = variants.paragraphs(comparison)
    try:
        found = dynamics.attractors(comparison.tables)
    except NoData as why:
        missing = f"No findings on dynamics: {why}."
        return Findings(title(comparison), sentences(comparison), [missing, *general], variants.FIGURE)
    conditions = list(dict.fromkeys(one.condition for one in found))
    paragraphs = [_method()]
    for condition in conditions:
        own = [one for one in found if one.condition == condition]
        paragraphs += [_verdict(own), _table(own, GEOMETRY), _table(own, TASK), _gates(own)]
    last = [one for one in found if one.condition == conditions[0]]
    headline = f"{_counts(last)} {_task_numbers(last)}"
    return Findings(_title(found), headline, [*filter(None, paragraphs), *general], FIGURE)


def _title(found: Sequence[Attractor]) -> str:
    """Return in which variants most seeds have an attractor, by condition."""
    if not any(2 * one.seeds.solved > one.seeds.seeds for one in found):
        return "No variant has an attractor of the task's dimensions in most seeds"
    conditions = list(dict.fromkeys(one.condition for one in found))
    parts = []
    for condition in conditions:
        most = [one for one in found if one.condition == condition and 2 * one.seeds.solved > one.seeds.seeds]
        place = under(condition) if len(conditions) > 1 else ""
        names = join_words(words.prose(one.variant) for one in most)
        parts.append(f"of {names or 'no variant'}{place}")
    return f"An attractor of the task's dimensions appears in most seeds {join_words(parts)}"


def _counts(own: Sequence[Attractor]) -> str:
    """Return how many seeds of each variant have an attractor."""
    parts = [f"{one.seeds.solved} of {one.seeds.seeds} seeds of {words.prose(one.variant)}" for one in own]
    return f"A line or plane of slow points appears in {join_words(parts)}{under(own[0].condition)}."


def _task_numbers(own: Sequence[Attractor]) -> str:
    """Return the accuracies of the linearised networks, and the agreement of word effects."""
    parts = []
    for one in own:
        linear, whole = (one.estimates.get(name) for name in ("linearised_accuracy", "accuracy"))
        if linear and whole and not math.isnan(linear.mean):
            accuracies = f"{number(linear.mean)} (whole: {number(whole.mean)})"
            parts.append(f"{accuracies} in {words.prose(one.variant)}")
    text = (
        f"The network linearised at these points reaches an accuracy of {join_words(parts)}." if parts else ""
    )
    effects = [(e.mean, one.variant) for one in own if (e := one.estimates.get("later_correlation"))]
    effects = [(value, name) for value, name in effects if not math.isnan(value)]
    if effects:
        best, name = max(effects)
        text += (
            f" Effects of words half a text later agree with a logistic regression most in "
            f"{words.prose(name)} "
            f"(r = {number(best)})."
        )
    return text.strip()


def _method() -> str:
    share = f"{dynamics.LEAST_SHARE:.0%}".replace("%", " %")
    return (
        "At a constant input (`instruments.readers.dynamics.at`) the points at which the state of the "
        "top layer "
        "moves at most 5 % of the states' spread within a text of median length (slow points), and "
        "those at which "
        "it rests (fixed points), are searched from states on the texts of the fixed batch. "
        "**Criterion**, declared "
        f"before the study: a run has an attractor if it has at least {dynamics.LEAST_POINTS} different "
        f"slow points, "
        f"if at least {share} of their variance lies in d dimensions (d = 1 for two classes, else the "
        f"number of "
        f"classes − 1), if they extend along these at least {dynamics.LEAST_EXTENT:g} times as far as "
        f"the states do, "
        "and if the d slowest modes outlast a text of median length. Two or three separate stable "
        "points, between "
        "which a network chooses, are no attractor in this sense."
    )


def _verdict(own: Sequence[Attractor]) -> str:
    """Return the counts with intervals, what the other seeds lack, and how soon attractors appear."""
    head = ["variant", "seeds with an attractor", "from step (median)", "what the others lack first"]
    rows = []
    for one in own:
        lacks = "; ".join(f"{LACKS[what]} ({count})" for what, count in one.lacks.items())
        rows.append([words.variant(one.variant), str(one.seeds), _step(one.first_step), lacks or NOTHING])
    place = words.condition(own[0].condition)
    question = f"**Does an attractor appear{f' ({place})' if place else ''}?** {_counts(own)} "
    few = "In brackets: 95 % interval of the probability that a seed has one (Clopper–Pearson)."
    return f"{question}{few}\n\n{markdown(head, rows)}"


def _step(step: float) -> str:
    if math.isnan(step):
        return NOTHING
    return "only at the tested weights" if math.isinf(step) else number(step)


def _table(own: Sequence[Attractor], quantities: dict[str, str]) -> str:
    """Return a table of means over seeds with intervals; "" without a value."""
    known = {
        name: label
        for name, label in quantities.items()
        if any(name in one.estimates and one.estimates[name].n for one in own)
    }
    if not known:
        return ""
    rows = [[words.variant(one.variant), *(_estimate(one, name) for name in known)] for one in own]
    return markdown(["variant", *known.values()], rows)


def _estimate(one: Attractor, name: str) -> str:
    estimate = one.estimates.get(name)
    if estimate is None or not estimate.n:
        return NOTHING
    missing = f" (n = {estimate.n})" if estimate.n < one.seeds.seeds else ""
    return f"{interval(estimate)}{missing}"


def _gates(own: Sequence[Attractor]) -> str:
    """Compare the variants without gates with those with gates."""
    plain = [one for one in own if style.split(one.variant)[0] in UNGATED]
    gated = [one for one in own if one not in plain]
    if not plain or not gated:
        return ""

    def text(group: Sequence[Attractor]) -> str:
        return join_words(f"{one.seeds} ({words.prose(one.variant)})" for one in group)

    best, most = max(plain, key=_rate), max(gated, key=_rate)
    if best.seeds.low > 0 and _rate(best) >= 0.5:
        answer = "No: an attractor appears without gates, too"
    elif most.seeds.low > best.seeds.high:
        answer = (
            f"Yes, as far as these variants tell: {words.prose(most.variant)} is ahead beyond the intervals"
        )
    else:
        answer = "Not decided: the intervals overlap"
    return f"**Does it need gates?** {answer}. Without gates {text(plain)}; with gates {text(gated)}."


def _rate(one: Attractor) -> float:
    share: SolvedShare = one.seeds
    return share.solved / share.seeds
