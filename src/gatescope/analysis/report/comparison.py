"""In words: which variant is ahead, by how much, and where the variants stand against the baseline."""

from __future__ import annotations

from collections.abc import Iterable

from gatescope.analysis import study
from gatescope.analysis.contrasts import Compared, against_baseline, leader, rows
from gatescope.analysis.figures.summaries import readable_name
from gatescope.analysis.report.numbers import interval, listed, number
from gatescope.analysis.runs import Tables
from gatescope.analysis.statistics import ENOUGH_SEEDS, NO_SPREAD

TITLE = "In words"


def paragraphs(tables: Tables) -> list[str]:
    conditions = study.conditions(study.contenders(tables).runs)
    ahead = [_ahead(tables, condition) for condition in conditions]
    return [*ahead, *filter(None, (_baseline(tables, condition) for condition in conditions))]


def headline(tables: Tables) -> str:
    """One line, plain text: the best mean under the last condition, and how many others it is ahead of."""
    condition = study.conditions(study.contenders(tables).runs)[-1]
    found = leader(tables, condition)
    name, place = readable_name(study.primary(tables)), f" under {condition}" if condition else ""
    if found is None:
        return f"No run has a finite {name}{place}."
    best, compared = found
    row = next(row for row in rows(tables) if (row.variant, row.condition) == (best, condition))
    extreme = "highest" if study.higher_is_better(tables) else "lowest"
    text = f"{best} has the {extreme} mean {name}{place}: {interval(row.metrics[study.primary(tables)])}"
    few = [one for one in compared if one.verdict == "not enough seeds"]
    ahead = sum(one.verdict == "ahead" for one in compared)
    if not compared:
        return f"{text}."
    told = (
        "not enough seeds for a verdict"
        if few
        else f"ahead of {ahead} of {len(compared)} others beyond seeds"
    )
    return f"{text}; {told}."


def _ahead(tables: Tables, condition: str) -> str:
    found = leader(tables, condition)
    place = f" under {condition}" if condition else ""
    name = readable_name(study.primary(tables))
    if found is None:
        return f"No run has a finite {name}{place}."
    best, compared = found
    row = next(row for row in rows(tables) if (row.variant, row.condition) == (best, condition))
    extreme = "highest" if study.higher_is_better(tables) else "lowest"
    mean = interval(row.metrics[study.primary(tables)])
    text = f"**{best}** has the {extreme} mean {name}{place}: {mean} (n = {row.n})."
    return " ".join([text, *_groups(compared)])


def _groups(compared: list[Compared]) -> list[str]:
    by_verdict = {kind: [c for c in compared if c.verdict == kind] for kind in {c.verdict for c in compared}}
    sentences = []
    if ahead := by_verdict.get("ahead"):
        sentences.append(f"It is ahead of {_others(ahead)}.")
    if level := by_verdict.get("no difference beyond seeds"):
        sentences.append(f"Against {_others(level)} there is no difference beyond seeds.")
    if alike := by_verdict.get(NO_SPREAD):
        sentences.append(
            f"Against {_others(alike)} no verdict: the difference is the same in all seeds, which leaves no "
            "spread to test it with."
        )
    if few := by_verdict.get("not enough seeds"):
        sentences.append(
            f"Against {_others(few)}: not enough seeds for a verdict (fewer than {ENOUGH_SEEDS} pairs)."
        )
    return sentences


def _others(compared: Iterable[Compared]) -> str:
    return listed(f"{c.difference.b} ({interval(c.difference.estimate, sign=True)})" for c in compared)


def _baseline(tables: Tables, condition: str) -> str:
    bar = study.baseline(tables, condition)
    place = f" under {condition}" if condition else ""
    if bar is None:
        named = tables.study.get("baseline")
        return (
            f"The baseline, {named}, has no finished run{place}: nothing is said against it." if named else ""
        )
    source = f" ({bar.source})" if bar.source else ""
    text = f"The baseline, {bar.name}{source}, stands at {number(bar.value)}{place}."
    better, worse = ("Above", "Below") if study.higher_is_better(tables) else ("Below", "Above")
    phrases = {
        "ahead": f"{better} it beyond seeds",
        "no difference beyond seeds": "Not told apart from it by these seeds",
        "behind": f"{worse} it beyond seeds",
        NO_SPREAD: "No verdict, as all seeds differ from it alike",
        "not enough seeds": "Not enough seeds for a verdict",
    }
    compared = against_baseline(tables, condition)
    for kind, phrase in phrases.items():
        group = [one for one in compared if one.verdict == kind]
        if group:
            named = listed(f"{c.difference.a} ({interval(c.difference.estimate, sign=True)})" for c in group)
            text += f" {phrase}: {named}."
    return text
