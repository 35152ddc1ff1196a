"""In words: what gates do at parts of an input, and how far attention may be read as an explanation."""

from __future__ import annotations

import re

import pandas as pd

from gatescope.analysis import contrasts, study, style
from gatescope.analysis.faithfulness import ERASURE, PERMUTED, TAU, Trial, trials
from gatescope.analysis.figures.base import NoData
from gatescope.analysis.report import comparison
from gatescope.analysis.report.numbers import interval, listed, number
from gatescope.analysis.report.tables import markdown
from gatescope.analysis.runs import Tables
from gatescope.analysis.statistics import ENOUGH_SEEDS, holm, mean_interval, paired_difference, verdict

TITLE = "What gates do, and whether attention explains"
ABLATIONS = ("uniform", "frozen_random", "mean", "max", "none")
"""Attentions whose weights are not learned."""
MATTERS = 0.1
"""Median total variation under permutation below which weights hardly move a prediction (Jain & Wallace 2019
draw their conclusions from such medians)."""
PUBLISHED = (
    "For comparison, Jain & Wallace 2019 found, with a BiLSTM, a mean τ with gradients of 0.34 and 0.36 (two "
    "classes) on SST and of 0.44 and 0.43 on IMDB; their gradients do not flow through attention, ours do."
)


def paragraphs(tables: Tables) -> list[str]:
    found = _learned(tables)
    if not found:
        why = "no finished run has readings of attention on trial (instruments=interpretability)"
        return [f"Nothing can be said of attention: {why}.", *_gates(tables), *comparison.paragraphs(tables)]
    parts: list[str] = []
    for condition in study.conditions(pd.DataFrame({"condition": [one.condition for one in found]})):
        own = [one for one in found if one.condition == condition]
        parts += [_verdict(tables, own, condition), _table(own, condition)]
        parts += [text for text in (_ablations(tables, condition), _truth(tables, condition)) if text]
    return [*parts, PUBLISHED, *_gates(tables), *comparison.paragraphs(tables)]


def headline(tables: Tables) -> str:
    """One line, plain text: the verdict under the last condition."""
    found = _learned(tables)
    if not found:
        return comparison.headline(tables)
    condition = study.conditions(pd.DataFrame({"condition": [one.condition for one in found]}))[-1]
    text = _verdict(tables, [one for one in found if one.condition == condition], condition)
    return text.replace("**", "").split(". ")[0].removesuffix(".") + "."


def _learned(tables: Tables) -> list[Trial]:
    try:
        return [one for one in trials(tables) if style.split(one.variant)[1] not in ABLATIONS]
    except NoData:
        return []


def passes(found: list[Trial], variant: str) -> dict[str, bool]:
    """By test, whether a variant's interval over seeds lies wholly on the good side; absent tests are left
    out. Agreement: τ with leave-one-out above one spread of the null; weight: permutation moves predictions
    by more than `MATTERS`; erasure: both measures above those of a random ranking."""
    own = {one.quantity: one for one in found if one.variant == variant}
    result: dict[str, bool] = {}
    if one := own.get(TAU["leave_one_out/token"]):
        result["agreement"] = one.estimate.low > one.reference
    if one := own.get(PERMUTED):
        result["weight"] = one.estimate.low > MATTERS
    erased = [own[name] for name in ERASURE.values() if name in own]
    if erased:
        result["erasure"] = all(one.estimate.low > one.reference for one in erased)
    return result


def _verdict(tables: Tables, found: list[Trial], condition: str) -> str:
    place = _under(condition)
    variants = style.order(one.variant for one in found)
    if any(not one.estimate.enough for one in found):
        return (
            f"**How far may attention be read as an explanation{place}?** Not enough seeds for a verdict "
            f"(fewer than {ENOUGH_SEEDS} for some variant)."
        )
    groups: dict[str, list[str]] = {"yes": [], "partly": [], "no": []}
    for variant in variants:
        outcome = passes(found, variant)
        failed = [name for name, good in outcome.items() if not good]
        key = "yes" if not failed else "no" if len(failed) == len(outcome) else "partly"
        groups[key].append(variant if key != "partly" else f"{variant} (not: {listed(failed)})")
    phrases = {
        "yes": "as a ranking of what the prediction rests on, by all tests, in",
        "partly": "by some tests only in",
        "no": "by none of the tests in",
    }
    said = "; ".join(f"{phrases[key]} {listed(names)}" for key, names in groups.items() if names)
    return (
        f"**How far may attention be read as an explanation{place}?** {said[0].upper()}{said[1:]}. "
        "The tests, each on its interval over seeds: agreement with leave-one-out beyond the spread that "
        f"chance gives an example; weight, a median change of the prediction above {number(MATTERS)} when "
        "weights are permuted; erasure, comprehensiveness and sufficiency above those of a random ranking. "
        "τ compares the order of all steps: where one decides and no other matters, it is near 0 for any "
        "weights."
    )


def _table(found: list[Trial], condition: str) -> str:
    quantities = list(dict.fromkeys(one.quantity for one in found))
    rows = []
    for variant in style.order(one.variant for one in found):
        own = {one.quantity: one for one in found if one.variant == variant}
        n = min(one.estimate.n for one in own.values())
        rows.append([variant, *(_cell(own.get(name)) for name in quantities), str(n)])
    place = f"**{condition}**\n\n" if condition else ""
    return place + markdown(["variant", *quantities, "n"], rows)


def _under(condition: str) -> str:
    return f" under {condition}" if condition else ""


def _cell(one: Trial | None) -> str:
    if one is None:
        return number(None)
    chance = f" (chance {number(one.reference)})" if one.quantity in ERASURE.values() else ""
    return interval(one.estimate) + chance


def _ablations(tables: Tables, condition: str) -> str:
    """Learned attention minus each ablation of the same cell on the primary metric, paired by seed."""
    table = study.contenders(tables).final(study.primary(tables))
    by_variant = contrasts.by_seed(table[table.condition == condition])
    pairs = [
        paired_difference(by_variant[variant], by_variant[other])
        for variant in style.order(by_variant)
        if style.split(variant)[1] not in ABLATIONS
        for ablation in ("uniform", "frozen_random")
        if (other := f"{style.split(variant)[0]}-{ablation}") in by_variant
    ]
    adjusted, higher = holm([one.p for one in pairs]), study.higher_is_better(tables)
    rows = [
        [one.a, one.b, interval(one.estimate, sign=True), str(one.estimate.n), verdict(one, p, higher)]
        for one, p in zip(pairs, adjusted, strict=True)
    ]
    metric = study.primary(tables)
    about = f"Ablations, what learning the weights is worth on `{metric}`{_under(condition)}:\n\n"
    return about + markdown(["variant", "minus", "difference", "pairs", "verdict"], rows) if rows else ""


def _truth(tables: Tables, condition: str) -> str:
    """Where the deciding step is known: how often each measure's highest step is it."""
    table = study.contenders(tables).reading("attention/truth/.*").sort_values("step", kind="stable")
    table = table.drop_duplicates(["run_id", "name"], keep="last").dropna(subset=["value"])
    table = table[table.condition == condition]
    if table.empty:
        return ""
    names = list(dict.fromkeys(table.name))
    rows = [
        [variant, *(interval(mean_interval(own.value[own.name == name])) for name in names)]
        for variant in style.order(table.variant)
        for own in [table[table.variant == variant]]
    ]
    about = (
        "Here the step that decides is known. Share of examples in which a measure is highest at that step, "
        f"of the steps compared{_under(condition)}:\n\n"
    )
    measures = [name.rsplit("/", 1)[1].replace("_", " ") for name in names]
    return about + markdown(["variant", *measures], rows)


def _gates(tables: Tables) -> list[str]:
    """A table of gates by part of the input, of every gated variant and condition; means over seeds."""
    table = (
        study.contenders(tables).reading("gate_parts/[^/]+/[^/]+/[^/]+").sort_values("step", kind="stable")
    )
    table = table.drop_duplicates(["run_id", "name"], keep="last").dropna(subset=["value"])
    if table.empty:
        return []
    names = table.name.str.split("/", expand=True)
    table = table.assign(layer=names[1], gate=names[2], part=names[3])
    parts = [part for part in ("start", "negation", "elsewhere", "end") if part in set(table.part)]
    lines: list[list[str]] = []
    for condition in study.conditions(table):
        for variant in style.order(table.variant[table.condition == condition]):
            own = table[(table.condition == condition) & (table.variant == variant)]
            for (layer, gate), rows in own.groupby(["layer", "gate"], sort=False):
                values = [interval(mean_interval(rows.value[rows.part == part])) for part in parts]
                where = f"{variant}, {condition}" if condition else variant
                lines.append([where, _gate(str(layer), str(gate)), *values])
    about = (
        "Gates by part of the input: mean over units and positions, then over seeds. `update` is the share "
        "of the new candidate that is written, `keep` the share of the old memory that stays (the forget "
        "gate of an LSTM)."
    )
    return [about, markdown(["variant", "gate", *parts], lines)]


def _gate(layer: str, gate: str) -> str:
    return gate if layer == "layer0" else f"{re.sub(r'^layer', 'layer ', layer)}: {gate}"
