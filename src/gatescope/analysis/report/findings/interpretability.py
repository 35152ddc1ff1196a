"""Findings on gates at parts of an input, and on attention as an explanation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from gatescope.analysis import contrasts, study, style, words
from gatescope.analysis.attention_tests import (
    ABLATIONS,
    ADVERSARIAL,
    FAILED,
    MIN_CHANGE,
    NULLS,
    QUANTITY,
    AttentionTest,
)
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.faithfulness import ERASURE, TAU, AttentionEvaluation
from gatescope.analysis.report.findings import Findings
from gatescope.analysis.report.findings import comparison as variants
from gatescope.analysis.report.findings.comparison import under
from gatescope.analysis.report.findings.headline import sentences, title
from gatescope.analysis.report.numbers import interval, join_words, number
from gatescope.analysis.report.tables import markdown
from gatescope.analysis.statistics import AHEAD, BEHIND, MIN_SEEDS, TOO_FEW_SEEDS
from gatescope.analysis.tables import NoData
from gatescope.analysis.units import unit_metric

FIGURE = "faithfulness"
"""The figure that shows the finding."""
PHRASES = {AHEAD: "explains more", BEHIND: "explains less"}
"""By verdict, what it says of attention."""
PUBLISHED = (
    "For comparison, Jain & Wallace 2019 found, with a BiLSTM, a mean τ with gradients of 0.34 and 0.36 (two "
    "classes) on SST and of 0.44 and 0.43 on IMDB; their gradients do not flow through attention, ours do."
)

Evaluations = Sequence[AttentionEvaluation]


def findings(comparison: Comparison) -> Findings:
    """Write the findings on attention and gates, then those on the comparison of variants."""
    general = [*_gates(comparison), *variants.paragraphs(comparison)]
    learned = _learned(comparison)
    if not learned:
        missing = (
            "No findings on attention: no finished run has measurements of the faithfulness of attention "
            "(choose instruments=interpretability)."
        )
        own_figure = variants.FIGURE
        return Findings(title(comparison), sentences(comparison), [missing, *general], own_figure)
    paragraphs: list[str] = []
    headline: list[str] = []
    for condition in study.conditions(pd.DataFrame({"condition": [one.condition for one in learned]})):
        own = [one for one in learned if one.condition == condition]
        if not (tests := [one for one in comparison.attention_tests if one.condition == condition]):
            paragraphs.append(_table(own, condition))
            continue
        headline.append(_headline(own, comparison.attention, condition))
        optional = (
            _ablations(comparison, condition),
            _adversarial(comparison, condition),
            _truth(comparison, condition),
        )
        paragraphs += [_verdict(tests, condition), _tests(tests, condition), _table(own, condition)]
        paragraphs += filter(None, optional)
    return Findings(
        _title(comparison.attention_tests), " ".join(headline), [*paragraphs, PUBLISHED, *general], FIGURE
    )


def _title(tests: Sequence[AttentionTest]) -> str:
    """Return in how many variants attention passes all tests, by condition."""
    if any(one.contrast.verdict == TOO_FEW_SEEDS for one in tests):
        seeds = min(one.contrast.difference.estimate.n for one in tests)
        return f"Whether attention explains predictions is not decided by {seeds} seeds"
    parts = []
    for condition in dict.fromkeys(one.condition for one in tests):
        results: dict[str, list[bool]] = {}
        for one in tests:
            if one.condition == condition:
                results.setdefault(one.variant, []).append(one.passed)
        passed = sum(map(all, results.values()))
        parts.append(f"in {passed} of {len(results)} variants{under(condition)}")
    if not parts:
        return "No test of attention as an explanation was measured"
    return f"Attention passes all tests as an explanation {join_words(parts)}"


def _headline(learned: Evaluations, every: Evaluations, condition: str) -> str:
    """Return the agreement of attention with leave-one-out, and that of weights that were never trained."""
    own = _range(learned, condition)
    if not own:
        return ""
    place = f"{words.capital(words.at(condition))}, attention" if condition else "Attention"
    text = (
        f"{place} orders the inputs as leaving each of them out does with a Kendall's τ of {own} (1: the "
        "same order, 0: chance)"
    )
    random = [one for one in every if style.split(one.variant)[1] == "frozen_random"]
    reached = _range(random, condition)
    return text + (f"; weights that were never trained reach {reached}." if reached else ".")


def _range(evaluations: Evaluations, condition: str) -> str:
    """Return τ with leave-one-out from the lowest to the highest variant; "" where none has it."""
    name = TAU["leave_one_out/token"]
    own = [one for one in evaluations if (one.quantity, one.condition) == (name, condition)]
    ordered = sorted(
        (one for one in own if not math.isnan(one.estimate.mean)), key=lambda one: one.estimate.mean
    )
    ends = dict.fromkeys([*ordered[:1], *ordered[-1:]])
    return " to ".join(f"{interval(one.estimate)} ({words.prose(one.variant)})" for one in ends)


def _learned(comparison: Comparison) -> list[AttentionEvaluation]:
    """Return the evaluations of attentions with learned weights."""
    try:
        return [one for one in comparison.attention if style.split(one.variant)[1] not in ABLATIONS]
    except NoData:
        return []


def _verdict(tests: Sequence[AttentionTest], condition: str) -> str:
    question = f"**Does attention explain predictions{under(condition)}?**"
    if any(one.contrast.verdict == TOO_FEW_SEEDS for one in tests):
        return f"{question} Not enough seeds for a verdict (fewer than {MIN_SEEDS} for some variant)."
    groups: dict[str, list[str]] = {"all": [], "some": [], "none": []}
    for variant in style.order(one.variant for one in tests):
        own = [one for one in tests if one.variant == variant]
        failed = list(dict.fromkeys(FAILED[one.test] for one in own if not one.passed))
        key = "all" if not failed else "none" if not any(one.passed for one in own) else "some"
        why = f" (failed: {join_words(failed)})" if key == "some" else ""
        groups[key].append(words.prose(variant) + why)
    phrases = {
        "all": "by all tests in",
        "some": "by some tests only in",
        "none": "by no test in",
    }
    text = "; ".join(f"{phrases[key]} {join_words(names)}" for key, names in groups.items() if names)
    return (
        f"{question} {text[0].upper()}{text[1:]}. "
        f"A test is passed where its interval is above 0; the intervals hold together for all "
        f"{len(tests)} tests{under(condition)}. Agreement: τ with leave-one-out exceeds that of the same "
        "weights permuted within each example, which is 0 on average, and that of frozen random attention. "
        f"Weight: the median change of the prediction exceeds {number(MIN_CHANGE)} if weights are permuted. "
        "Erasure: comprehensiveness and sufficiency exceed those of a random ranking. τ compares the order "
        "of all steps: where a single step decides, τ is near 0 for any weights."
    )


def _tests(tests: Sequence[AttentionTest], condition: str) -> str:
    """Return a table of the tests: what a variant is compared with, the difference and the verdict."""
    rows = [
        [
            words.variant(one.variant),
            QUANTITY[one.test],
            NULLS[one.test],
            interval(one.contrast.difference.estimate, sign=True),
            str(one.contrast.difference.estimate.n),
            PHRASES.get(
                one.contrast.verdict, one.contrast.judgement.replace("a larger test set", "more examples")
            ),
        ]
        for one in tests
    ]
    head = ["variant", "quantity", "minus that of", "difference", "pairs", "verdict"]
    return f"Attention against its nulls{under(condition)}:\n\n{markdown(head, rows)}"


def _table(evaluations: Evaluations, condition: str) -> str:
    quantities = list(dict.fromkeys(one.quantity for one in evaluations))
    rows = []
    for variant in style.order(one.variant for one in evaluations):
        own = {one.quantity: one for one in evaluations if one.variant == variant}
        n = min(one.estimate.n for one in own.values())
        rows.append([words.variant(variant), *(_cell(own.get(name)) for name in quantities), str(n)])
    place = f"**{words.capital(words.condition(condition))}**\n\n" if condition else ""
    return place + markdown(["variant", *quantities, "n"], rows)


def _cell(one: AttentionEvaluation | None) -> str:
    if one is None:
        return number(None)
    chance = f" (chance {number(one.reference)})" if one.quantity in ERASURE.values() else ""
    return interval(one.estimate) + chance


def _ablations(comparison: Comparison, condition: str) -> str:
    """Return a table of learned attention against each ablation of the same cell, on the primary metric."""
    scores = comparison.scores.get((comparison.primary, condition), {})
    pairs = [
        (variant, other)
        for variant in style.order(scores)
        if style.split(variant)[1] not in ABLATIONS
        for ablation in ("uniform", "frozen_random")
        if (other := f"{style.split(variant)[0]}-{ablation}") in scores
    ]
    if not pairs:
        return ""
    rows = [
        [
            words.variant(one.variant),
            words.variant(one.reference),
            interval(one.difference.estimate, sign=True),
            str(one.difference.estimate.n),
            one.verdict,
        ]
        for one in contrasts.paired_contrasts({condition: scores}, pairs, comparison.rules())
    ]
    metric = words.metric(comparison.primary)
    about = f"Ablations: learned minus fixed weights, {metric}{under(condition)}:\n\n"
    return about + markdown(["variant", "minus", "difference", "pairs", "verdict"], rows)


def _adversarial(comparison: Comparison, condition: str) -> str:
    """Return a table of how far an adversarial attention gets from the one that it imitates."""
    tables = comparison.contenders
    runs = tables.runs[(tables.runs.attention == ADVERSARIAL) & (tables.runs.condition == condition)]
    if runs.empty:
        return ""
    tvd, jsd = (tables.final(f"test/{name}").loc[runs.index] for name in ("imitation_tvd", "attention_jsd"))
    jsd = jsd.assign(value=jsd.value / math.log(2))  # in bits, between 0 and 1
    rows = []
    for variant in style.order(runs.variant):
        at = runs.index[runs.variant == variant]
        estimates = [unit_metric(own.loc[at], "proportion") for own in (tvd, jsd)]
        rows.append([words.variant(variant), *map(interval, estimates), str(estimates[0].n)])
    about = (
        "**Do other weights go with the same predictions?** An attention is trained to predict like the "
        "additive one of the same seed while it attends elsewhere (Wiegreffe & Pinter 2019). Difference of "
        "predictions: the mean total variation on the test split, 0 to 1. Difference of attention: the mean "
        "Jensen–Shannon divergence in bits, 0 to 1 (no step in common). A small first and a "
        "large second number say that the weights are not the only ones that go with the predictions"
        f"{under(condition)}:\n\n"
    )
    head = ["variant", "difference of predictions", "difference of attention", "n"]
    return about + markdown(head, rows)


def _truth(comparison: Comparison, condition: str) -> str:
    """Return a table of how often each measure is highest at the deciding step, where that step is known."""
    table = comparison.contenders.of_tested("attention/truth/.*").dropna(subset=["value"])
    table = table[table.condition == condition]
    if table.empty:
        return ""
    names = list(dict.fromkeys(table.name))
    rows = [
        [words.variant(variant), *(_share(own[own.name == name]) for name in names)]
        for variant in style.order(table.variant)
        for own in [table[table.variant == variant]]
    ]
    about = (
        "In this task the deciding step is known. Share of examples in which a measure is highest at that "
        f"step, among the compared steps{under(condition)}:\n\n"
    )
    measures = [name.rsplit("/", 1)[1].replace("_", " ") for name in names]
    return about + markdown(["variant", *measures], rows)


def _share(table: pd.DataFrame) -> str:
    """Return the mean over seeds of a share with its interval."""
    return interval(unit_metric(table, "proportion"))


def _gates(comparison: Comparison) -> list[str]:
    """Return a table of gates by part of the input, of every gated variant and condition."""
    table = comparison.contenders.of_tested("gate_parts/[^/]+/[^/]+/[^/]+").dropna(subset=["value"])
    if table.empty:
        return []
    names = table.name.str.split("/", expand=True)
    table = table.assign(layer=names[1], gate=names[2], part=names[3])
    parts = [part for part in ("start", "negation", "elsewhere", "end") if part in set(table.part)]
    about = (
        f"Gates by part of the input: mean over units, positions and then {comparison.unit}s. The update "
        "gate is the share of the new candidate that is written; “share kept” is that of the previous state "
        "(the forget gate of an LSTM)."
    )
    return [about, markdown(["variant", "gate", *parts], _gate_rows(table, parts))]


def _gate_rows(table: pd.DataFrame, parts: list[str]) -> Iterable[list[str]]:
    for condition in study.conditions(table):
        for variant in style.order(table.variant[table.condition == condition]):
            own = table[(table.condition == condition) & (table.variant == variant)]
            for (layer, gate), rows in own.groupby(["layer", "gate"], sort=False):
                values = [_share(rows[rows.part == part]) for part in parts]
                name = ", ".join(filter(None, [words.variant(variant), words.condition(condition)]))
                yield [name, _gate_name(str(layer), str(gate)), *values]


def _gate_name(layer: str, gate: str) -> str:
    """Return "update gate", and above the first layer "layer 2: update gate"."""
    return words.gate(gate) if layer == "layer0" else f"{words.layer(layer)}: {words.gate(gate)}"
